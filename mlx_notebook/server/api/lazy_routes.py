"""Mounts our routes without importing them: a server that loads the extension pays milliseconds."""

import re
from functools import cached_property
from typing import Any, ClassVar

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router, Rule, RuleRouter
from tornado.web import Application

_PREFIXES = "(?:v1|mlx|health|tokenize|detokenize|apply-template)(?:/.*)?"


class _HandlerRouter(RuleRouter):
    """Routes to the handlers of an application."""

    def __init__(self, application: Application, rules: list[Rule]) -> None:
        self._application = application
        super().__init__(rules)

    def get_target_delegate(
        self, target: Any, request: HTTPServerRequest, **target_params: Any
    ) -> HTTPMessageDelegate | None:
        return self._application.get_handler_delegate(request, target, **target_params)


class LazyRoutes(Router):
    """All routes of `routes.py`, imported when the first request comes for one of them."""

    # Jupyter asks each target which methods it must protect. tests/server/api/test_base.py checks
    # the handlers themselves.
    SUPPORTED_METHODS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, application: Application, base_url: str) -> None:
        self._application = application
        self._base = re.escape(base_url)

    @classmethod
    def rule(cls, application: Application, base_url: str) -> Rule:
        """Return the rule that leads to the routes below `base_url`."""
        return Rule(PathMatches(re.escape(base_url) + _PREFIXES), cls(application, base_url))

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return what serves a request, or None where it is not one of ours."""
        return self._router.find_handler(request, **kwargs)

    @cached_property
    def _router(self) -> _HandlerRouter:
        from mlx_notebook.server.api.routes import ROUTES

        rules = [Rule(PathMatches(self._base + pattern), handler) for pattern, handler in ROUTES]
        return _HandlerRouter(self._application, rules)
