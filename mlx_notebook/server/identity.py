"""Whose data a request may see."""

import inspect

from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
from jupyter_server.base.handlers import JupyterHandler

# The user behind the server's own token or password.
OWNER = "owner"
# With these, all who may come in know the same secret.
_ONE_SECRET = (IdentityProvider, PasswordIdentityProvider)


async def owner(handler: JupyterHandler) -> str:
    """Return a stable name for the user behind an authenticated request.

    Jupyter's own identity providers let in whoever knows the server's token or password, and make
    up a user for each browser: all of them count as one, the server's owner. With any other
    provider (JupyterHub's, for example) the owner is who sends the server's token, and everyone
    else goes by their user name.
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
