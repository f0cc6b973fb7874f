"""Mount the routes without importing their handlers, so that the extension loads quickly."""

import re
from functools import cached_property
from typing import Any, ClassVar

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router, Rule, RuleRouter
from tornado.web import Application

_PREFIXES = "(?:v1|mlx|health|tokenize|detokenize|apply-template)(?:/.*)?"


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
    """Import the routes of `routes.py` when the first request for one of them comes."""

    # Jupyter asks each target which methods it must protect. tests/server/api/test_base.py checks
    # that all handlers are protected.
    SUPPORTED_METHODS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, application: Application, base_url: str) -> None:
        self._application = application
        self._base = re.escape(base_url)

    @classmethod
    def rule(cls, application: Application, base_url: str) -> Rule:
        """Return the routing rule for the routes below `base_url`."""
        return Rule(PathMatches(re.escape(base_url) + _PREFIXES), cls(application, base_url))

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return the delegate for a request, None if there is no route for it."""
        return self._router.find_handler(request, **kwargs)

    @cached_property
    def _router(self) -> _HandlerRouter:
        from mlx_notebook.server.api.routes import ROUTES

        rules = [Rule(PathMatches(self._base + pattern), handler) for pattern, handler in ROUTES]
        return _HandlerRouter(self._application, rules)
