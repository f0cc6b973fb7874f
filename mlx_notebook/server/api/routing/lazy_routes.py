"""Mount the routes without importing their handlers, so that the extension loads quickly."""

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, ClassVar

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router, Rule, RuleRouter
from tornado.web import Application

from mlx_notebook.server.api.routing.foreign_apis import ROOT_PATHS, Route, routes_at_root

_PREFIXES = "(?:v1|v2/rerank|mlx|health|tokenize|detokenize|apply-template)(?:/.*)?"


def _own_routes() -> Iterable[Route]:
    from mlx_notebook.server.api.routing.routes import ROUTES

    return ROUTES


def _own_sockets() -> Iterable[Route]:
    from mlx_notebook.server.api.routing.routes import SOCKETS

    return SOCKETS


def _standalone_routes() -> Iterable[Route]:
    return (*_own_routes(), *routes_at_root())


class _HandlerRouter(RuleRouter):
    """Route requests to the handlers of an application."""

    def __init__(self, application: Application, rules: list[Rule]) -> None:
        self._application = application
        super().__init__(rules)

    def get_target_delegate(
        self, target: Any, request: HTTPServerRequest, **target_params: Any
    ) -> HTTPMessageDelegate | None:
        return self._application.get_handler_delegate(request, target, **target_params)


class LazyRoutes(Router):
    """Import the routes when the first request for one of them comes."""

    # Jupyter asks each target which methods it must protect. tests/server/api/http/test_base.py
    # checks that all handlers are protected.
    SUPPORTED_METHODS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        application: Application,
        base_url: str,
        routes: Callable[[], Iterable[Route]],
        sockets: Callable[[], Iterable[Route]],
    ) -> None:
        self._application = application
        self._base = re.escape(base_url)
        self._routes = routes
        self._sockets = sockets

    @classmethod
    def rule(
        cls,
        application: Application,
        base_url: str,
        routes: Callable[[], Iterable[Route]] = _own_routes,
        sockets: Callable[[], Iterable[Route]] = _own_sockets,
        *,
        prefixes: str = _PREFIXES,
    ) -> Rule:
        """Return the routing rule for the routes below `base_url`.

        Parameters
        ----------
        application
            The application of the Jupyter server.
        base_url
            The server's base URL.
        routes
            Import the routes: patterns, handlers, and arguments of the handlers if they have any.
        sockets
            Import the routes of requests for a WebSocket.
        prefixes
            Pattern of the paths among which the routes are.
        """
        router = cls(application, base_url, routes, sockets)
        return Rule(PathMatches(f"{re.escape(base_url)}(?:{prefixes})"), router)

    @classmethod
    def standalone_rule(cls, application: Application, base_url: str) -> Rule:
        """Return the routing rule of `jupyter mlx-notebook`, with other programs' APIs at its root.

        Parameters
        ----------
        application, base_url
            As for `rule`.
        """
        prefixes = f"{_PREFIXES}|{ROOT_PATHS}"
        return cls.rule(application, base_url, _standalone_routes, prefixes=prefixes)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return the delegate for a request, None if there is no route for it."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            found = self._socket_router.find_handler(request, **kwargs)
            if found is not None:
                return found
        return self._router.find_handler(request, **kwargs)

    @cached_property
    def _router(self) -> _HandlerRouter:
        return self._router_of(self._routes())

    @cached_property
    def _socket_router(self) -> _HandlerRouter:
        return self._router_of(self._sockets())

    def _router_of(self, routes: Iterable[Route]) -> _HandlerRouter:
        rules = [Rule(PathMatches(self._base + pattern), *target) for pattern, *target in routes]
        return _HandlerRouter(self._application, rules)
