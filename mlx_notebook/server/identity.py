"""Identify the user of a request, for the data that the request may see."""

import inspect
import os

from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from tornado.httputil import HTTPServerRequest

# The user behind the server's own token or password.
OWNER = "owner"
# With these providers, all users know the same secret.
_ONE_SECRET = (IdentityProvider, PasswordIdentityProvider)


def has_one_token(provider: IdentityProvider) -> bool:
    """Return whether the server has a token, and everyone who knows it is the same user."""
    return type(provider) in _ONE_SECRET and bool(provider.token)


class InProcessRequest(HTTPServerRequest):
    """A request that this server sends to itself for a user, without a connection.

    No request from a connection is of this class.

    Attributes
    ----------
    owner
        The user, as `owner` names them.
    username
        Name of the user in the log.
    patient
        Whether nobody waits for the answer.
    """

    owner: str
    username: str
    patient: bool


async def owner(handler: JupyterHandler) -> str:
    """Return a stable name for the user of an authenticated request.

    Jupyter's own identity providers accept everyone who knows the server's token or password, and
    invent a user for each browser. All of these are one user here, the server's owner. With another
    provider, for example JupyterHub's, whoever sends the server's token is the owner, and so is the
    user for whom JupyterHub started this server. All others are known by their user name.
    """
    if isinstance(handler.request, InProcessRequest):
        return handler.request.owner
    provider = handler.identity_provider
    if type(provider) in _ONE_SECRET:
        return OWNER
    if provider.token and provider.get_token(handler) == provider.token:
        cookie_user = provider.get_user_cookie(handler)
        if inspect.isawaitable(cookie_user):
            cookie_user = await cookie_user
        if cookie_user is None:
            return OWNER
    user = handler.current_user
    if hasattr(user, "hub_user") and user.username == _hubs_user():
        return OWNER
    return f"user:{user.username}"


def _hubs_user() -> str | None:
    """Return the user for whom JupyterHub started this server; None for a service of the Hub."""
    return None if os.environ.get("JUPYTERHUB_SERVICE_NAME") else os.environ.get("JUPYTERHUB_USER")
