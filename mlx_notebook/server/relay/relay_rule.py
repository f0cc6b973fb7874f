"""Mount the routes that a service of JupyterHub answers, without importing their handlers."""

from typing import Any

from tornado.routing import Rule
from tornado.web import Application

from mlx_notebook.server.api.routing.lazy_routes import LazyRoutes


def relay_rule(application: Application, base_url: str) -> Rule:
    """Return the routing rule for the routes below `base_url`, the server's base URL."""
    return LazyRoutes.rule(application, base_url, _routes, _sockets)


def _routes() -> tuple[Any, ...]:
    from mlx_notebook.server.relay.relay_routes import RELAY_ROUTES

    return RELAY_ROUTES


def _sockets() -> tuple[Any, ...]:
    from mlx_notebook.server.relay.relay_routes import RELAY_SOCKETS

    return RELAY_SOCKETS
