"""Whose data a request may see."""

import inspect

from jupyter_server.base.handlers import JupyterHandler

# The user behind the server's own token.
OWNER = "owner"


async def owner(handler: JupyterHandler) -> str:
    """Return a stable name for the user behind an authenticated request.

    Jupyter gives a client that sends only the server's token a fresh anonymous user each time, so
    that all holders of the token count as one: the server's owner. Everyone else (JupyterHub's
    users, browsers with a login cookie) goes by their user name.
    """
    provider = handler.identity_provider
    if provider.token and provider.get_token(handler) == provider.token:
        cookie_user = provider.get_user_cookie(handler)
        if inspect.isawaitable(cookie_user):
            cookie_user = await cookie_user
        if cookie_user is None:
            return OWNER
    return f"user:{handler.current_user.username}"
