"""Answer with Server-Sent Events: the one place that opens, writes and closes an event stream."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
from tornado.http1connection import HTTP1Connection

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import ApiError


class EventStreamHandler(ApiHandler):
    """Base of the routes that can answer with Server-Sent Events.

    Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    @asynccontextmanager
    async def event_stream(
        self, failure: Callable[[ApiError], Awaitable[bytes]] | None = None
    ) -> AsyncIterator[None]:
        """Open an event stream for the block, and close it after the block.

        The headers travel with the first event. An error before that is raised, so that the client
        gets its HTTP status. A later error becomes the last event of the stream.

        Parameters
        ----------
        failure
            Return the events for an error, in place of `error_event`.
        """
        self._open()
        try:
            yield
        except ApiError as error:
            if not self._headers_written:
                raise
            self.count_error(error)
            await self.send(await failure(error) if failure else self.error_event(error))
        self._close()

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer with an error: as an event where a stream has begun, since its status is sent."""
        if not self._headers_written or self._finished:
            super().send_error(status_code, **kwargs)
            return
        error = self.explained(kwargs.get("exc_info", (None, None))[1])
        self.count_error(error)
        self.write(self.error_event(error))
        self._close()

    async def send(self, data: bytes) -> None:
        """Write one or more events, and wait while the client is too slow to take them.

        Raises
        ------
        StreamClosedError
            If the client has closed the connection.
        """
        self.write(data)
        await self.flush()

    async def send_event(self, value: Any) -> None:
        """Write a value as one event.

        Raises
        ------
        StreamClosedError
            If the client has closed the connection.
        """
        await self.send(b"data: %b\n\n" % msgspec.json.encode(value))

    async def send_comment(self, text: str) -> None:
        """Write a comment, which keeps the connection open. Open the stream if need be.

        Raises
        ------
        StreamClosedError
            If the client has closed the connection.
        """
        if not self._headers_written:
            self._open()
        await self.send(comment(text))

    def error_event(self, error: ApiError) -> bytes:
        """Return the event for an error in the middle of a stream."""
        return b"event: error\ndata: %b\n\n" % self.encoded_error(error)

    def _open(self) -> None:
        self.set_header("Content-Type", self.stream_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            # Send each token at once, and not when a packet is full.
            connection.stream.set_nodelay(True)

    def _close(self) -> None:
        self.finish(set_content_type=self.stream_type)


def comment(text: str) -> bytes:
    """Return a comment of an event stream, which clients ignore."""
    return f": {text}\n\n".encode()
