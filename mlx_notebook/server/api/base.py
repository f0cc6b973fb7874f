"""What every route shares: auth, bodies, errors, CORS, and work that ends with its client."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

import anyio
import msgspec
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from mlx_notebook.server import errors
from mlx_notebook.server.api.client_connection import ClientConnection
from mlx_notebook.server.api.request_head import declared_length, without_secrets
from mlx_notebook.server.identity import OWNER, owner
from mlx_notebook.server.services import Services
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.decode import decode, too_complex
from mlx_notebook.server.wire.parameters import (
    IGNORED_HEADER,
    MAX_IGNORED_NAMES,
    ignored_parameters,
    printable,
)

T = TypeVar("T")
P = ParamSpec("P")
H = TypeVar("H", bound="ApiHandler")


# A refused body is read and thrown away up to this size, since most clients look for the answer
# only when they have sent everything; beyond it the connection is closed at once.
_DRAINED_BYTES = 128 * 1024 * 1024
_DRAIN_SECONDS = 30
# To read and decode more bytes takes long enough to hold up others.
_LARGE_BODY = 1024 * 1024

# What OpenAI's and Anthropic's SDKs send beside the headers that Jupyter allows; their
# `x-stainless-*` headers are allowed by prefix.
_ALLOWED_HEADERS = (
    *("accept", "content-type", "authorization", "x-xsrftoken", "x-api-key", "x-request-id"),
    *("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"),
    *("openai-organization", "openai-project", "openai-beta", "idempotency-key", "user-agent"),
)
_EXPOSED_HEADERS = f"x-request-id, retry-after, {IGNORED_HEADER}"


@web.stream_request_body
class ApiHandler(APIHandler):
    """Base of all routes.

    The body is taken in while it arrives, so that a request which is refused by its headers (no
    token, too large) never fills memory.
    """

    auth_resource = "mlx_notebook"
    # The route's name in traces and metrics; only named routes are counted.
    endpoint: ClassVar[str] = ""
    SUPPORTED_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    preflight_seconds: ClassVar[int] = 600

    def initialize(self) -> None:
        """Set up what a request needs."""
        # Every line of a log that names the request takes its address from here.
        self.request.uri = without_secrets(self.request)
        self.body = RequestBody()
        self._received = 0
        self._body_timer: asyncio.TimerHandle | None = None
        self._refusal: errors.ApiError | None = None
        self._host_is_allowed = True
        self._takes_body = False
        self._scope: anyio.CancelScope | None = None
        self._peer: ClientConnection | None = None
        self._client_left = False
        # Whether the request asks for a stream.
        self.wants_stream = False
        # The request's parameters that nothing here uses.
        self.ignored: list[str] = []

    @property
    def services(self) -> Services:
        """What this handler may use."""
        return cast(Services, self.settings["mlx_notebook"].services)

    # --- who may come in --------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate by the headers, and decide whether to take the body."""
        headers = self.request.headers
        if "x-api-key" in headers and "Authorization" not in headers:
            # Anthropic's SDK sends its key so. Like a bearer token it cannot come from a foreign
            # page's form or image, so that Jupyter's checks mean the same for it.
            headers["Authorization"] = f"Bearer {headers['x-api-key']}"
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(_DRAINED_BYTES)
            self._peer = ClientConnection(
                connection.stream, self.services.limits.keep_alive_seconds
            )
        refusal: errors.ApiError | None = None
        try:
            await super().prepare()
        except web.HTTPError as error:
            refusal = self.explained(error)
        length = declared_length(headers.get("Content-Length", "0"))
        if length is None:
            raise refusal or errors.InvalidRequest(
                "The header Content-Length must be one whole number.", code="invalid_header"
            )
        if refusal is None and length > self.services.limits.max_body_bytes:
            refusal = self._too_large()
        if refusal is not None:
            if headers.get("Expect") == "100-continue" or length > _DRAINED_BYTES:
                raise refusal
            self._refuse(refusal)
        self._takes_body = True
        self._body_timer = asyncio.get_running_loop().call_later(
            self.services.limits.body_timeout_seconds, self._give_up_on_body
        )

    def _refuse(self, refusal: errors.ApiError) -> None:
        """Answer with `refusal` when the body has passed; until then nobody is logged in."""
        self._refusal = refusal
        self.current_user = self._jupyter_current_user = None
        self.body.clear()
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_body_timeout(_DRAIN_SECONDS)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Take in a part of the body; after each part of a large one others have their turn."""
        self._received += len(chunk)
        if self._refusal is None and self._received > self.services.limits.max_body_bytes:
            self._refuse(self._too_large())
        if self._refusal is None:
            self.body.take(chunk)
            if self.body.excess:
                self._refuse(too_complex(self.body.excess))
        # Tornado reads without a pause for as long as there is something to read.
        return asyncio.sleep(0) if self._received > _LARGE_BODY else None

    def _give_up_on_body(self) -> None:
        """Refuse a request whose body is still on its way after all the time that it may take."""
        if self._finished or self.request._body_future.done():
            return
        self._takes_body = False
        self._refuse(
            errors.BodyTimeout(
                "The body did not arrive within "
                f"{self.services.limits.body_timeout_seconds:g} seconds "
                "(MlxNotebookApp.body_timeout_seconds)."
            )
        )
        self.send_error(408)

    def _too_large(self) -> errors.ApiError:
        limit = self.services.limits.max_body_bytes
        return errors.BodyTooLarge(
            f"The body is larger than {limit:,} bytes, the most that this server takes "
            "(MlxNotebookApp.max_body_bytes)."
        )

    def check_host(self) -> bool:
        """Whether the `Host` header names this machine (against DNS rebinding)."""
        self._host_is_allowed = super().check_host()
        return self._host_is_allowed

    def set_secure_cookie(self, *args: Any, **kwargs: Any) -> None:
        """Set no login cookie: with one, a client's later request with a wrong key would pass."""

    def decoded(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the body, decoded and validated.

        The parameters in it that nothing here uses are listed in a header of the answer.

        Raises:
            InvalidRequest: It is not what the route takes.
            RequestCancelled: The body is large, and the client has gone.
        """
        if self._received > _LARGE_BODY and self._peer is not None and self._peer.has_gone:
            self._client_left = True
            raise errors.RequestCancelled("The client has closed the connection.")
        request = decode(decoder, self.body)
        self.wants_stream = bool(getattr(request, "stream", None))
        self.pass_over(*ignored_parameters(self.body.content, request))
        return request

    def pass_over(self, *names: str) -> None:
        """List parameters of the request that nothing here uses in a header of the answer."""
        self.ignored = [*self.ignored, *map(printable, names)][:MAX_IGNORED_NAMES]
        if self.ignored:
            self.set_header(IGNORED_HEADER, ", ".join(self.ignored))

    # --- errors -----------------------------------------------------------------------------------

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with OpenAI's error object, whatever went wrong."""
        exception = kwargs.get("exc_info", (None, None))[1]
        error = self._refusal or self.explained(exception)
        self.count_error(error)
        self.set_status(error.status_code, error.reason)
        if hasattr(self, "_jupyter_current_user"):
            # send_error has cleared all headers.
            self.set_cors_headers()
        if not self._takes_body:
            # Tornado closes a connection whose request it has not read to its end.
            self.set_header("Connection", "close")
        for name, value in error.headers.items():
            self.set_header(name, value)
        if error.status_code == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish(self.encoded_error(error))

    def encoded_error(self, error: errors.ApiError) -> bytes:
        """Return an error as JSON, in the words of the API that the route belongs to."""
        return error.encoded()

    def count_error(self, error: errors.ApiError) -> None:
        """Count an error that this client is told."""
        if self.endpoint:
            metrics.ERRORS.labels(error.code).inc()

    def on_finish(self) -> None:
        """Count the answer."""
        super().on_finish()
        if self._peer is not None:
            self._peer.leave()
        if self._body_timer is not None:
            self._body_timer.cancel()
        if self.endpoint and self.request.method != "OPTIONS":
            metrics.REQUESTS.labels(self.endpoint, str(self.get_status())).inc()

    def explained(self, error: BaseException | None) -> errors.ApiError:
        """Return the API error for an exception of ours, Jupyter's or Tornado's."""
        if isinstance(error, errors.ApiError):
            return error
        if not isinstance(error, web.HTTPError):
            return errors.ApiError("The server failed on this request; its log says why.")
        status, message = error.status_code, str(error.get_message() or "")
        if status == 403 and not self._host_is_allowed:
            return errors.Forbidden(
                f"This server does not answer to the name {self.request.host!r}. Use localhost, "
                "or set ServerApp.allow_remote_access or ServerApp.local_hostnames.",
                code="host_not_allowed",
            )
        if status == 403 and (not self.current_user or "_xsrf" in message):
            return self._unauthorized()
        if status == 403:
            return errors.Forbidden(message or "This user may not do this.")
        if status == 404 and "Origin" in self.request.headers:
            return errors.Forbidden(
                "Pages of this origin may not use this server: see ServerApp.allow_origin.",
                code="origin_not_allowed",
            )
        if status == 405:
            allowed = ", ".join(self._methods())
            return errors.MethodNotAllowed(
                f"{self.request.method} is not allowed here. Use {allowed}.",
                headers={"Allow": allowed},
            )
        if 400 <= status < 500:
            return errors.InvalidRequest(message or "The request is malformed.")
        return errors.ApiError("The server failed on this request; its log says why.")

    def _unauthorized(self) -> errors.ApiError:
        if not self.identity_provider.auth_enabled:
            return errors.Unauthorized(
                "This server runs without a token, and then takes requests from Jupyter's own "
                "pages only. Start it with a token (--IdentityProvider.token=...) and send that "
                "as the API key.",
                code="token_needed",
            )
        return errors.Unauthorized(
            "Send the Jupyter server's token as the API key: 'Authorization: Bearer <token>' "
            "(api_key=... in OpenAI's client). `jupyter server list` shows it."
        )

    def _methods(self) -> list[str]:
        return [
            name
            for name in self.SUPPORTED_METHODS
            if getattr(type(self), name.lower()) is not web.RequestHandler._unimplemented_method
        ]

    # --- browsers ---------------------------------------------------------------------------------

    def set_cors_headers(self) -> None:
        """Allow the origins that Jupyter's settings allow, and show them our headers."""
        super().set_cors_headers()
        allowed = self._headers.get("Access-Control-Allow-Origin")
        if not allowed:
            self.clear_header("Access-Control-Allow-Origin")
            return
        self.set_header("Access-Control-Expose-Headers", _EXPOSED_HEADERS)
        if allowed != "*":
            self.add_header("Vary", "Origin")

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Answer a preflight; `set_cors_headers` has said whether the origin is allowed."""
        self.set_header("Access-Control-Allow-Methods", ", ".join(self._methods()))
        configured = self.settings.get("headers", {}).get("Access-Control-Allow-Headers")
        asked = self.request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
        stainless = (name.strip() for name in asked if name.strip().startswith("x-stainless-"))
        self.set_header(
            "Access-Control-Allow-Headers",
            configured or ", ".join((*_ALLOWED_HEADERS, *stainless)),
        )
        self.set_header("Access-Control-Max-Age", str(self.preflight_seconds))
        self.set_status(204)
        self.finish()

    # --- answers ----------------------------------------------------------------------------------

    async def whose(self) -> str | None:
        """Return whose requests this client may see and stop; `None` means everyone's."""
        return None if "requests" in self.services.shared_between_users else await owner(self)

    async def settings_user(self) -> str:
        """Return whose saved settings hold for this client's requests."""
        return OWNER if "settings" in self.services.shared_between_users else await owner(self)

    def answer(self, value: Any) -> None:
        """Finish with a value as JSON."""
        self.finish(msgspec.json.encode(value))

    @contextmanager
    def _while_connected(self) -> Iterator[None]:
        with anyio.CancelScope() as self._scope:
            if self._client_left:
                self._scope.cancel()
            try:
                yield
            except StreamClosedError:
                self._client_left = True
        if self._client_left and not self._headers_written:
            # Only the log shows this status.
            self.set_status(499, "Client Closed Request")

    def on_connection_close(self) -> None:
        """Cancel the work for a client that has closed its connection."""
        super().on_connection_close()
        self._client_left = True
        if self._body_timer is not None:
            self._body_timer.cancel()
        if self._peer is not None:
            self._peer.leave()
        if self._scope is not None:
            self._scope.cancel()


def ends_with_client(
    method: Callable[Concatenate[H, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, None]]:
    """Decorate a handler's method so that it is cancelled when its client closes the connection."""

    @functools.wraps(method)
    async def run(self: H, /, *args: P.args, **kwargs: P.kwargs) -> None:
        with self._while_connected():
            await method(self, *args, **kwargs)

    return run
