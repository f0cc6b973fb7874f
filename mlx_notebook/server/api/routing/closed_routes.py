"""Close the routes of a Jupyter server that a server of models must not have.

`jupyter mlx-notebook` is a Jupyter server. Whoever has its token, or may use it as a service of
JupyterHub, could otherwise start kernels as the server's own user and read its files.
"""

import re
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from tornado.routing import PathMatches, Rule

from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.api.native.root_page import RootHandler
from mlx_notebook.server.api.native.service_page import ServicePageHandler

# What the login page needs, `jupyter server stop`, and Prometheus, whose metrics have our counters.
_OPEN_ALONE = r"api(/status|/shutdown)?|metrics|login|logout|static/.*|favicon\.ico"


def standalone_rules(base_url: str) -> list[Rule]:
    """Return what `jupyter mlx-notebook` has beside the API: page, login, metrics, status and stop.

    Parameters
    ----------
    base_url
        The server's base URL.
    """
    base = re.escape(base_url)
    return [
        Rule(PathMatches(base), RootHandler),
        Rule(PathMatches(f"(?!{base}({_OPEN_ALONE})$).*"), UnknownRouteHandler),
    ]


def service_rules(base_url: str, provider: IdentityProvider) -> list[Rule]:
    """Return what a service of JupyterHub has beside the API: its page, the login and logout.

    Its users must not stop it either.

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
