"""An identity provider that knows some users by their tokens, as JupyterHub's does.

Ann, Bob and Cem are users; Ann and Bob are in a class. The teacher may manage the server. Whoever
sends the server's own token is its owner.
"""

from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User

# The description of each user, as JupyterHub gives it.
USERS: dict[str, dict[str, Any]] = {
    "ann": {"kind": "user", "name": "ann", "groups": ["class"], "admin": False},
    "bob": {"kind": "user", "name": "bob", "groups": ["class"], "admin": False},
    "cem": {"kind": "user", "name": "cem", "groups": [], "admin": False},
    "teacher": {"kind": "user", "name": "teacher", "groups": ["staff"], "admin": True},
}
_PREFIX = "token-of-"


def token_of(name: str) -> str:
    """Return the token of a user. A name that is not in `USERS` has a token too, and no groups."""
    return _PREFIX + name


class KnownUser(User):
    """A user with what JupyterHub says of them, in the attribute that JupyterHub uses."""

    def __init__(self, hub_user: dict[str, Any]) -> None:
        self.hub_user = hub_user
        super().__init__(username=hub_user["name"])


class UserTokens(IdentityProvider):
    """Take `token-of-NAME` as the token of the user NAME."""

    async def get_user_token(self, handler):  # type: ignore[no-untyped-def]
        token = self.get_token(handler) or ""
        if not token.startswith(_PREFIX):
            return await super().get_user_token(handler)
        name = token.removeprefix(_PREFIX)
        unknown = {"kind": "user", "name": name, "groups": [], "admin": False}
        return KnownUser(USERS.get(name, unknown))
