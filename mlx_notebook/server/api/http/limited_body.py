"""Read the body of a request while it arrives, within limits of size and time."""

import asyncio
from collections.abc import Awaitable
from typing import cast

from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.http1connection import HTTP1Connection

from mlx_notebook.server import errors
from mlx_notebook.server.api.http.request_head import declared_length
from mlx_notebook.server.services import Services
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.decode import too_complex

# The body of a refused request is read and discarded up to this size, since most clients read the
# response only when they have sent everything. The connection of a larger one is closed at once.
_DRAINED_BYTES = 128 * 1024 * 1024
_DRAIN_SECONDS = 30
# Reading and decoding a larger body would delay other requests.
_LARGE_BODY = 1024 * 1024


@web.stream_request_body
class LimitedBodyHandler(APIHandler):
    """Base of all routes.

    It reads the body while the body arrives, so that a request that is refused by its headers (no
    token, too large) takes no memory.
    """

    def initialize(self) -> None:
        """Initialize the state of a request."""
        self.body = RequestBody()
        self._received = 0
        self._body_timer: asyncio.TimerHandle | None = None
        self._refusal: errors.ApiError | None = None
        self._reads_body = False

    @property
    def services(self) -> Services:
        """Parts of the server that this handler uses."""
        return cast(Services, self.settings["mlx_notebook"].services)

    @property
    def max_body_bytes(self) -> int:
        """The largest body, in bytes."""
        return self.services.limits.max_body_bytes

    @property
    def limit_of_bodies(self) -> str:
        """The setting that limits the body."""
        return "MlxNotebookApp.max_body_bytes"

    @property
    def has_large_body(self) -> bool:
        """Whether the body is so large that it takes time to read and decode it."""
        return self._received > _LARGE_BODY

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate by the headers, as Jupyter does."""
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(max(_DRAINED_BYTES, self.max_body_bytes))
        await super().prepare()

    def begin_body(self, refusal: errors.ApiError | None) -> None:
        """Read the body, unless the headers show that the request is refused: `refusal` says why.

        Raises
        ------
        ApiError
            If it is refused at once.
        """
        headers = self.request.headers
        length = declared_length(headers.get("Content-Length", "0"))
        if length is None:
            raise refusal or errors.InvalidRequest(
                "The header Content-Length must be a whole number.", code="invalid_header"
            )
        if refusal is None and length > self.max_body_bytes:
            refusal = self._too_large()
        if refusal is not None:
            if headers.get("Expect") == "100-continue" or length > _DRAINED_BYTES:
                raise refusal
            self._refuse(refusal)
        self._reads_body = True
        self._body_timer = asyncio.get_running_loop().call_later(
            self.services.limits.body_timeout_seconds, self._refuse_late_body
        )

    def end_body(self) -> None:
        """Wait no longer for the body."""
        if self._body_timer is not None:
            self._body_timer.cancel()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Read a part of the body. Let other tasks run after each part of a large body."""
        self._received += len(chunk)
        if self._refusal is None and self._received > self.max_body_bytes:
            self._refuse(self._too_large())
        if self._refusal is None:
            self.body.take(chunk)
            if self.body.excess:
                self._refuse(too_complex(self.body.excess))
        # Tornado reads without a pause while there is data.
        return asyncio.sleep(0) if self.has_large_body else None

    def _refuse(self, refusal: errors.ApiError) -> None:
        """Answer with `refusal` after the body, which is discarded. Log the user out until then."""
        self._refusal = refusal
        self.current_user = self._jupyter_current_user = None
        self.body.clear()
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_body_timeout(_DRAIN_SECONDS)

    def _refuse_late_body(self) -> None:
        """Refuse a request whose body has not arrived in time."""
        if self._finished or self.request._body_future.done():
            return
        self._reads_body = False
        # A body that is too large, or comes without a token, may never end either.
        refusal = self._refusal or errors.BodyTimeout(
            "The body did not arrive within "
            f"{self.services.limits.body_timeout_seconds:g} seconds "
            "(MlxNotebookApp.body_timeout_seconds)."
        )
        self._refuse(refusal)
        self.send_error(refusal.status_code)

    def _too_large(self) -> errors.ApiError:
        return errors.BodyTooLarge(
            f"The body is larger than {self.max_body_bytes:,} bytes, the most that this server "
            f"accepts ({self.limit_of_bodies})."
        )
