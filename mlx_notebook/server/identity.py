"""Identify the user of a request, for the data that the request may see."""

import inspect

from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
from jupyter_server.base.handlers import JupyterHandler

# The user behind the server's own token or password.
OWNER = "owner"
# With these providers, all users know the same secret.
_ONE_SECRET = (IdentityProvider, PasswordIdentityProvider)


async def owner(handler: JupyterHandler) -> str:
    """Return a stable name for the user of an authenticated request.

    Jupyter's own identity providers accept everyone who knows the server's token or password, and
    invent a user for each browser. All of these are one user here, the server's owner. With another
    provider, for example JupyterHub's, whoever sends the server's token is the owner, and all
    others are known by their user name.
    """
    provider = handler.identity_provider
    if type(provider) in _ONE_SECRET:
        return OWNER
    if provider.token and provider.get_token(handler) == provider.token:
        cookie_user = provider.get_user_cookie(handler)
        if inspect.isawaitable(cookie_user):
            cookie_user = await cookie_user
        if cookie_user is None:
            return OWNER
    return f"user:{handler.current_user.username}"
