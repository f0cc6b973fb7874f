"""Take a WebSocket at `v1/responses`, and answer its messages one after the other.

Each message is answered by the code that answers a POST, so that limits, traces and errors are the
same.

Format: https://developers.openai.com/api/docs/guides/websocket-mode.
"""

import asyncio
from collections import deque
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.websocket import WebSocketClosedError

from mlx_notebook.server.api.http.client_connection import ClientConnection
from mlx_notebook.server.api.http.web_socket import WebSocketApiHandler
from mlx_notebook.server.api.in_process.in_process_request import post_in_process
from mlx_notebook.server.api.in_process.request_sender import sender_of
from mlx_notebook.server.api.responses.socket_turn import SocketConnection, SocketTurnHandler
from mlx_notebook.server.errors import ApiError, InvalidRequest, QueueFull
from mlx_notebook.server.responses.last_response import LastResponse
from mlx_notebook.server.wire.responses.socket_messages import error_frame, read_message

# Messages of a connection that wait while a response runs.
_MOST_WAITING = 16
# RFC 6455, section 7.4.1. Official clients open a new connection after these.
_GOING_AWAY, _TRY_AGAIN, _FAILED = 1001, 1013, 1011


class ResponseSocketHandler(WebSocketApiHandler):
    """Take WebSockets for responses."""

    endpoint = "v1/responses"

    def initialize(self) -> None:
        """Initialize the state of a connection."""
        super().initialize()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._last = LastResponse(self.max_body_bytes)

    @web.authenticated
    @authorized(action="write")  # type: ignore[untyped-decorator]
    async def get(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> None:
        """Take the connection, until it is closed."""
        self.require_token()
        self._sender = await sender_of(self)
        self._answering: asyncio.Task[None] | None = None
        try:
            with self.services.response_sockets.opened(self._sender.owner, self.go_away):
                await super().get(*args, **kwargs)
        finally:
            if self._answering is not None:
                self._answering.cancel()

    # --- the connection ---------------------------------------------------------------------------

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to answer."""
        assert self.ws_connection is not None
        assert self.ws_connection.stream is not None
        self.set_nodelay(True)
        seconds = self.services.limits.keep_alive_seconds
        self._client = ClientConnection(self.ws_connection.stream, seconds)
        self._answering = asyncio.create_task(self._answer_all())

    def on_message(self, message: str | bytes) -> None:
        """Let a message wait until those before it are answered."""
        data = message.encode() if isinstance(message, str) else message
        self._waiting_bytes += len(data)
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes > self.max_body_bytes:
            self._fail(
                QueueFull(
                    "Too many messages wait on this WebSocket. Send the next one when a response "
                    "has ended."
                )
            )
            self.close(_TRY_AGAIN)
            return
        self._waiting.append(data)
        self._arrived.set()

    def on_close(self) -> None:
        """End the response that runs."""
        if self._client is not None:
            self._client.stop_watching()
        if self._answering is not None:
            self._answering.cancel()

    def go_away(self) -> None:
        """Close the connection, since the server stops."""
        self.close(_GOING_AWAY)

    # --- messages ---------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        seconds = self.services.limits.socket_seconds
        ends_at = anyio.current_time() + seconds
        try:
            while (message := await self._next(ends_at)) is not None:
                await self._answer(message)
        except Exception:
            self.log.exception("A WebSocket of v1/responses failed.")
            self.close(_FAILED)
            return
        self._fail(
            InvalidRequest(
                f"This WebSocket has been open for {seconds / 60:g} minutes, as long as this "
                "server allows (MlxNotebookApp.socket_minutes). Open a new one.",
                code="websocket_connection_limit_reached",
            )
        )
        self.close(_GOING_AWAY)

    async def _next(self, ends_at: float) -> bytes | None:
        """Return the next message, None if the time of the connection is over."""
        with anyio.CancelScope(deadline=ends_at) as scope:
            # After the end it takes no message that waits either.
            await checkpoint()
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
        if scope.cancelled_caught:
            return None
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        return message

    async def _answer(self, message: bytes) -> None:
        try:
            request = read_message(message)
        except ApiError as error:
            self._fail(error)
            return
        connection = SocketConnection(self._send)
        await post_in_process(
            self.application,
            self.request.path,
            SocketTurnHandler,
            self._sender,
            request.body,
            connection,
            patient=False,
            arguments={"last": self._last, "generates": request.generates},
        )
        if connection.failed:
            self._last.forget(request.previous)

    def _fail(self, error: ApiError) -> None:
        self.count_error(error)
        self._send(error_frame(error))

    def _send(self, frame: bytes) -> "asyncio.Future[None]":
        try:
            sent = self.write_message(frame)
        except WebSocketClosedError as error:
            sent = asyncio.get_running_loop().create_future()
            sent.set_exception(error)
        sent.add_done_callback(lambda future: future.cancelled() or future.exception())
        return sent
