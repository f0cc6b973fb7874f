"""Answers that are streams of events."""

from typing import Any

import msgspec
from tornado.http1connection import HTTP1Connection

from mlx_notebook.server.api.base import ApiHandler
from mlx_notebook.server.errors import ApiError


class EventStreamHandler(ApiHandler):
    """A route that may answer with Server-Sent Events.

    Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def open_stream(self) -> None:
        """Set the headers of an event stream; they travel with the first event."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            # Each token on its way at once, not when a packet is full.
            connection.stream.set_nodelay(True)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Tell of an error; in a stream that has begun by an event, since its status has gone."""
        if not self._headers_written or self._finished:
            super().send_error(status_code, **kwargs)
            return
        self.write(self.error_event(self._explained(kwargs.get("exc_info", (None, None))[1])))
        self.close_stream()

    async def send(self, data: bytes) -> None:
        """Write one or more events and wait while the client is too slow to take them.

        Raises:
            StreamClosedError: The client has gone.
        """
        self.write(data)
        await self.flush()

    async def send_event(self, value: Any) -> None:
        """Write a value as one event. Raises `StreamClosedError` where the client has gone."""
        await self.send(b"data: %b\n\n" % msgspec.json.encode(value))

    def close_stream(self) -> None:
        """End the stream."""
        self.finish(set_content_type="text/event-stream; charset=utf-8")

    def error_event(self, error: ApiError) -> bytes:
        """Return the event that tells of an error in mid-stream."""
        self._count(error)
        return b"event: error\ndata: %b\n\n" % self.encoded_error(error)
