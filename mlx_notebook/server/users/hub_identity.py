"""Know the users of JupyterHub by their tokens and by their login in a browser.

Only a service of JupyterHub imports this, since `jupyterhub` may not be installed elsewhere.
"""

import asyncio
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyterhub.singleuser.extension import JupyterHubIdentityProvider, JupyterHubUser
from tornado import web

from mlx_notebook.server.errors import Forbidden, Unavailable

_ANSWER_SECONDS = 10.0
# Answers about tokens, right and wrong ones, that are remembered.
_MAX_REMEMBERED = 10_000


class HubIdentityProvider(JupyterHubIdentityProvider):
    """Ask the Hub whose token a request brings, and whether it may use this service.

    JupyterHub's own class does the work. It keeps the Hub's answers for five minutes
    (`HubOAuth.cache_max_age`), sends browsers to the Hub to log in, and checks the origin of their
    requests. This one answers programs with errors that say what to do.
    """

    @property
    def token(self) -> str:
        """Return none: the service's own token opens the Hub, and is no user's."""
        return ""

    @property
    def auth_enabled(self) -> bool:
        """Whether requests need a token."""
        return True

    @property
    def key_hint(self) -> str:
        """What to send as the API key."""
        return (
            "Send a JupyterHub token as the API key: 'Authorization: Bearer <token>' (api_key=... "
            f"in OpenAI's client). {self.hub_auth.hub_host}{self.hub_auth.hub_prefix}token makes "
            "one, and in a notebook of the Hub JUPYTERHUB_API_TOKEN is one."
        )

    async def get_user(self, handler: JupyterHandler) -> JupyterHubUser | None:
        """Return the user of a request, None if it brings no valid token or login.

        Raises
        ------
        Forbidden
            If the user, or the token, may not use this service.
        Unavailable
            If the Hub does not answer.
        """
        # Jupyter's pages of errors ask for it.
        handler.current_user = handler._jupyter_current_user = None
        if len(self.hub_auth.cache) > _MAX_REMEMBERED:
            self.hub_auth.cache.clear()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                user = await super().get_user(handler)
                known = user.hub_user if user else await self.hub_auth.get_user(handler, sync=False)
        except (TimeoutError, web.HTTPError) as error:
            self.log.error("The Hub did not say who sent a request: %s", error)
            raise Unavailable(
                "JupyterHub did not answer, so that this service cannot know who you are. Try "
                "again in a moment.",
                code="jupyterhub_unreachable",
                headers={"Retry-After": "5"},
            ) from None
        if known is not None and user is None:
            raise self._refused(known)
        if user is not None and known["kind"] == "service":
            # A user may have the same name. No user name contains a slash.
            user.username = f"services/{known['name']}"
        return user

    def _refused(self, known: dict[str, Any]) -> Forbidden:
        # The narrowest of those that suffice: access:services!service=mlx.
        scope = max(self.hub_auth.access_scopes, key=len, default="access:services")
        return Forbidden(
            f"The {known['kind']} {known['name']!r} or this token may not use this service: it has "
            f"no scope {scope}. Who runs the Hub can grant it, to the user by a role and to the "
            "tokens of notebook servers by c.Spawner.server_token_scopes.",
            code="scope_missing",
        )
