"""Close all routes of a Jupyter server that a service of JupyterHub must not have.

Whoever may use the service could start kernels as the service's own user, read its files or shut it
down: Jupyter's server takes everyone whom it knows for its owner.
"""

import re
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from tornado.routing import PathMatches, Rule

from mlx_notebook.server.api.native.service_page import ServicePageHandler
from mlx_notebook.server.api.unknown_route import UnknownRouteHandler


def service_rules(base_url: str, provider: IdentityProvider) -> list[Rule]:
    """Return what a service has beside the API: its page, the login and logout, and nothing else.

    Parameters
    ----------
    base_url
        The service's base URL.
    provider
        What logs users in. It brings its own handlers.
    """
    login: list[Any] = provider.get_handlers()
    base = re.escape(base_url.rstrip("/"))
    return [
        Rule(PathMatches(re.escape(base_url)), ServicePageHandler),
        *(Rule(PathMatches(base + pattern), *target) for pattern, *target in login),
        Rule(PathMatches(".*"), UnknownRouteHandler),
    ]
