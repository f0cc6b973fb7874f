"""Tell browsers what pages of other origins may send and read (CORS).

Jupyter's settings decide which origins may: `ServerApp.allow_origin` and `allow_origin_pat`.
"""

from collections.abc import Sequence

from jupyter_server.base.handlers import APIHandler

from mlx_notebook.server.api.http.rate_headers import RATE_HEADERS
from mlx_notebook.server.wire.parameters.parameters import IGNORED_HEADER, NOTICES_HEADER

# Headers of OpenAI's and Anthropic's SDKs, in addition to those that Jupyter allows. Their
# `x-stainless-*` headers are allowed by prefix.
_ALLOWED_HEADERS = (
    *("accept", "content-type", "authorization", "x-xsrftoken", "x-api-key", "x-request-id"),
    *("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"),
    *("openai-organization", "openai-project", "openai-beta", "idempotency-key", "user-agent"),
)
_EXPOSED_HEADERS = ", ".join(
    ("x-request-id", "retry-after", IGNORED_HEADER, NOTICES_HEADER, *RATE_HEADERS)
)


def expose_headers(handler: APIHandler) -> None:
    """Let pages of an origin that Jupyter has allowed read our headers of a response."""
    allowed = handler._headers.get("Access-Control-Allow-Origin")
    if not allowed:
        handler.clear_header("Access-Control-Allow-Origin")
        return
    handler.set_header("Access-Control-Expose-Headers", _EXPOSED_HEADERS)
    if allowed != "*":
        handler.add_header("Vary", "Origin")


def answer_preflight(handler: APIHandler, methods: Sequence[str], seconds: int) -> None:
    """Answer the question of a browser whether a page may send a request.

    Parameters
    ----------
    methods
        HTTP methods of the route.
    seconds
        How long the browser may keep the answer.
    """
    handler.set_header("Access-Control-Allow-Methods", ", ".join(methods))
    configured = handler.settings.get("headers", {}).get("Access-Control-Allow-Headers")
    asked = handler.request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
    stainless = (name.strip() for name in asked if name.strip().startswith("x-stainless-"))
    handler.set_header(
        "Access-Control-Allow-Headers",
        configured or ", ".join((*_ALLOWED_HEADERS, *stainless)),
    )
    handler.set_header("Access-Control-Max-Age", str(seconds))
    handler.set_status(204)
    handler.finish()
