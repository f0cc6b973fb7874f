"""Find the user of a request."""

from collections.abc import Collection

from jupyter_server.base.handlers import JupyterHandler

from mlx_notebook.server.identity import OWNER, InProcessRequest, owner
from mlx_notebook.server.users.user import LOCAL, User


class UserRequestInProcess(InProcessRequest):
    """A request that this server sends to itself for a user, with what the user may do."""

    user: User


async def request_user(handler: JupyterHandler, admin_groups: Collection[str]) -> User:
    """Return the user of an authenticated request.

    Parameters
    ----------
    handler
        The request's handler. Its `current_user` is set.
    admin_groups
        Groups whose members may manage the server, like JupyterHub's own admins.
    """
    if isinstance(handler.request, UserRequestInProcess):
        return handler.request.user
    if await owner(handler) == OWNER:
        return LOCAL
    # What JupyterHub says of the user. Other identity providers say the name only.
    known = getattr(handler.current_user, "hub_user", {})
    groups = tuple(sorted(known.get("groups", ())))
    return User(
        name=handler.current_user.username,
        groups=groups,
        admin=bool(known.get("admin")) or not set(admin_groups).isdisjoint(groups),
    )
