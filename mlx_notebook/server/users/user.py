"""Describe the person or program behind a request."""

import msgspec


class User(msgspec.Struct, frozen=True):
    """A user as JupyterHub knows them.

    Attributes
    ----------
    name
        Name that no other user has. Empty for the one user of a server without JupyterHub.
    groups
        Names of the groups that the user is in, sorted.
    admin
        Whether the user may manage the server.
    """

    name: str
    groups: tuple[str, ...] = ()
    admin: bool = False


# All who may use a server without JupyterHub: they know its token or its password.
LOCAL = User("", admin=True)
