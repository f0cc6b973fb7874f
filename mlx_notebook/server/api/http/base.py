"""Share what all routes need: authentication, bodies, errors, CORS, and the client's end."""

import functools
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import anyio
import msgspec
from jupyter_server.auth.authorizer import AllowAllAuthorizer, Authorizer
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import User as JupyterUser
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from mlx_notebook.server import errors
from mlx_notebook.server.api.http.client_connection import ClientConnection
from mlx_notebook.server.api.http.error_explanations import explained_error
from mlx_notebook.server.api.http.foreign_pages import answer_preflight, expose_headers
from mlx_notebook.server.api.http.limited_body import LimitedBodyHandler
from mlx_notebook.server.api.http.rate_headers import openai_headers
from mlx_notebook.server.api.http.request_head import without_secrets
from mlx_notebook.server.api.http.request_report import RequestReport
from mlx_notebook.server.identity import OWNER, InProcessRequest, owner
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.users.rate_limiter import RateState, UserRequest
from mlx_notebook.server.users.request_user import request_user
from mlx_notebook.server.users.user import User
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.parameters.parameters import (
    IGNORED_HEADER,
    MAX_IGNORED_NAMES,
    NOTICES_HEADER,
    RequestParameters,
    ignored_parameters,
    printable,
)

T = TypeVar("T")
P = ParamSpec("P")
H = TypeVar("H", bound="ApiHandler")


# The user of a request that is not authenticated.
_NOBODY = User("")
# Clients and proxies limit the length of a header.
_LONGEST_NOTICES = 2000


class ApiHandler(LimitedBodyHandler):
    """Base of all routes."""

    auth_resource = "mlx_notebook"
    # Name of the route in traces and metrics. Routes without a name are not counted.
    endpoint: ClassVar[str] = ""
    SUPPORTED_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    preflight_seconds: ClassVar[int] = 600
    # Whether the parameters of the route mean what they mean in OpenAI's API.
    is_openai: ClassVar[bool] = True

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # All log lines take the address of the request from here.
        self.request.uri = without_secrets(self.request)
        self._host_is_allowed = True
        self._scope: anyio.CancelScope | None = None
        self._client: ClientConnection | None = None
        self._client_left = False
        self._user = _NOBODY
        # The place of this request among those of its user that are in flight.
        self.counted: UserRequest | None = None
        # Whether the request asks for a stream.
        self.wants_stream = False
        # When the whole request was here, in seconds of the monotonic clock.
        self.arrived = time.monotonic()
        # Parameters of the request that this server does not use.
        self.ignored: list[str] = []
        # What of its documents and videos the model does not see.
        self.notices: list[str] = []
        # Parameters that the upstream of the request's model gets as they are.
        self.passed_on: dict[str, Any] = {}

    @cached_property
    def report(self) -> RequestReport:
        """What is reported of this request to OpenTelemetry."""
        return RequestReport(self.request, self.endpoint, self.services.engine.traces.reporter)

    @property
    def user(self) -> User:
        """User who sent the request."""
        return self._user

    @property
    def is_patient(self) -> bool:
        """Whether nobody waits for the answer: the request is a line of a batch."""
        return isinstance(self.request, InProcessRequest) and self.request.patient

    @property
    def authorizer(self) -> Authorizer:
        """What decides whether a user may do something."""
        if isinstance(self.request, InProcessRequest):
            return AllowAllAuthorizer(parent=self.identity_provider)
        return super().authorizer

    # --- authentication and body ------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate by the headers, and decide whether to read the body."""
        headers = self.request.headers
        if "x-api-key" in headers and "Authorization" not in headers:
            # Anthropic's SDK sends its key in this header. Like a bearer token it cannot come from
            # a form or an image of a foreign page, so Jupyter's checks apply in the same way.
            headers["Authorization"] = f"Bearer {headers['x-api-key']}"
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            self._client = ClientConnection(
                connection.stream, self.services.limits.keep_alive_seconds
            )
        refusal: errors.ApiError | None = None
        try:
            if isinstance(self.request, InProcessRequest):
                # Its user was authenticated and authorized when they asked for it.
                known = JupyterUser(self.request.username)
                self.current_user = self._jupyter_current_user = known
            else:
                await super().prepare()
            if self.current_user:
                self._user = await request_user(self, self.services.admin_groups)
        except web.HTTPError as error:
            refusal = self.explained(error)
        self.begin_body(refusal)

    def check_host(self) -> bool:
        """Whether the `Host` header names this machine (against DNS rebinding)."""
        self._host_is_allowed = super().check_host()
        return self._host_is_allowed

    def set_secure_cookie(self, *args: Any, **kwargs: Any) -> None:
        """Set no login cookie, with which a later request with a wrong key would succeed."""

    def decoded(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the decoded and validated body.

        A header of the response lists its parameters that this server does not use.

        Raises
        ------
        InvalidRequest
            If it is not what the route accepts.
        RequestCancelled
            If the body is large, and the client has closed the connection.
        """
        if self.has_large_body and self._client is not None and self._client.is_closed:
            self._client_left = True
            raise errors.RequestCancelled("The client has closed the connection.")
        self.arrived = time.monotonic()
        request = decode(decoder, self.body)
        for name in ("stream", "background"):
            if self.is_patient and getattr(request, name, None):
                raise errors.InvalidRequest(
                    f"A request of a batch cannot have {name!r}. Leave it out.",
                    param=name,
                    code="unsupported_parameter",
                )
        self.wants_stream = bool(getattr(request, "stream", None))
        model, catalog = getattr(request, "model", None), self.services.catalog
        if isinstance(request, RequestParameters) and self.services.upstreams.names:
            self.passed_on = self.services.upstreams.take_parameters(
                catalog.canonical(model) if model else catalog.default_now(),
                request,
                self.body.content,
                is_openai=self.is_openai,
            )
        self.report_ignored(*ignored_parameters(self.body.content, request, self.passed_on))
        return request

    def report_ignored(self, *names: str) -> None:
        """Add parameters that this server does not use to a header of the response."""
        self.ignored = [*self.ignored, *map(printable, names)][:MAX_IGNORED_NAMES]
        if self.ignored:
            self.set_header(IGNORED_HEADER, ", ".join(self.ignored))

    def report_notices(self, notices: list[str]) -> None:
        """Add sentences about what the model does not see to a header of the response."""
        self.notices = [*self.notices, *notices]
        if self.notices:
            self.set_header(NOTICES_HEADER, " ".join(self.notices)[:_LONGEST_NOTICES])

    # --- errors -----------------------------------------------------------------------------------

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with OpenAI's error object for any error."""
        exception = kwargs.get("exc_info", (None, None))[1]
        error = self._refusal or self.explained(exception)
        self.count_error(error)
        self.set_status(error.status_code, error.reason)
        if hasattr(self, "_jupyter_current_user"):
            # send_error has cleared all headers.
            self.set_cors_headers()
        if not self._reads_body:
            # Tornado closes a connection if it has not read the whole request.
            self.set_header("Connection", "close")
        for name, value in error.headers.items():
            self.set_header(name, value)
        if error.status_code == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish(self.encoded_error(error))

    def rate_headers(self, states: list[RateState]) -> dict[str, str]:
        """Return headers about the user's limits, with the names of the route's API."""
        return openai_headers(states)

    def encoded_error(self, error: errors.ApiError) -> bytes:
        """Return an error as JSON, in the format of the API that the route belongs to."""
        return error.encoded()

    def count_error(self, error: errors.ApiError) -> None:
        """Count an error that is sent to this client."""
        if self.endpoint:
            metrics.ERRORS.labels(error.code).inc()
        if self.endpoint and self._user != _NOBODY:
            self.report.error = error.code
        if error.status_code in (403, 429) and self._user != _NOBODY:
            name = self._user.name
            self.services.engine.usage.refuse(f"user:{name}" if name else OWNER)

    def on_finish(self) -> None:
        """Count the response."""
        super().on_finish()
        if self._client is not None:
            self._client.stop_watching()
        self.end_body()
        if self.endpoint and self.request.method != "OPTIONS":
            metrics.REQUESTS.labels(self.endpoint, str(self.get_status())).inc()
            if self._client_left:
                self.report.error = self.report.error or "request_cancelled"
            self.report.end(self.get_status())

    def explained(self, error: BaseException | None) -> errors.ApiError:
        """Return the API error for any exception."""
        allowed = self._host_is_allowed
        return explained_error(error, self, methods=self._methods(), host_is_allowed=allowed)

    def _methods(self) -> list[str]:
        return [
            name
            for name in self.SUPPORTED_METHODS
            if getattr(type(self), name.lower()) is not web.RequestHandler._unimplemented_method
        ]

    # --- browsers ---------------------------------------------------------------------------------

    def set_cors_headers(self) -> None:
        """Allow the origins that Jupyter's settings allow, and expose our headers to them."""
        super().set_cors_headers()
        expose_headers(self)

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Answer a preflight request. `set_cors_headers` has checked the origin."""
        answer_preflight(self, self._methods(), self.preflight_seconds)

    # --- responses --------------------------------------------------------------------------------

    async def visible_owner(self) -> str | None:
        """Return the user whose requests this client may see and cancel; None for all users."""
        return None if "requests" in self.services.shared_between_users else await owner(self)

    async def settings_user(self) -> str:
        """Return the user whose saved settings apply to this client's requests."""
        return OWNER if "settings" in self.services.shared_between_users else await owner(self)

    def answer(self, value: Any) -> None:
        """Finish the response with a value as JSON."""
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
            finally:
                if self.counted is not None:
                    self.counted.release()
        if self._client_left and not self._headers_written:
            # Only the log shows this status.
            self.set_status(499, "Client Closed Request")

    def on_connection_close(self) -> None:
        """Cancel the work for a client that has closed its connection."""
        super().on_connection_close()
        self._client_left = True
        self.end_body()
        if self._client is not None:
            self._client.stop_watching()
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
