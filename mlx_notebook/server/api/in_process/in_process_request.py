"""Answer requests that this server sends to itself for a user, without a connection."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.batches.batch_record import Sender
from mlx_notebook.server.users.request_user import UserRequestInProcess


class InProcessConnection(HTTPConnection):
    """Takes a response, in place of a connection to a client.

    Attributes
    ----------
    status, headers
        The head of the response.
    done
        Whether the response is complete.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers = HTTPHeaders()
        self.done = asyncio.get_running_loop().create_future()
        self._closed: Callable[[], None] | None = None

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Take the head of the response, and perhaps the beginning of its body."""
        self.status = cast(ResponseStartLine, start_line).code
        self.headers = headers
        return self.write(chunk or b"")

    def finish(self) -> None:
        """Take the end of the response."""
        if not self.done.done():
            self.done.set_result(None)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Take the function to call if the connection is closed."""
        self._closed = callback

    def close(self) -> None:
        """Tell the handler that nobody waits for the response any more."""
        if self._closed is not None:
            self._closed()


class MemoryConnection(InProcessConnection):
    """Keeps the body of a response.

    Attributes
    ----------
    body
        What there is of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = bytearray()

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Take a part of the body."""
        self.body += chunk
        return done()


def done() -> "asyncio.Future[None]":
    """Return a future that is done."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def post_in_process(
    application: Application,
    path: str,
    handler: type[ApiHandler],
    sender: Sender,
    body: bytes,
    connection: InProcessConnection,
    *,
    patient: bool,
    arguments: dict[str, Any] | None = None,
) -> None:
    """Let a handler answer a POST request of a user. A cancelled call cancels the request.

    Parameters
    ----------
    application
        The server's application.
    path, handler
        Path of the route, and what answers it.
    sender
        The user, and the trace that the request belongs to.
    body
        JSON.
    connection
        Takes the response.
    patient
        Whether nobody waits for it.
    arguments
        Arguments for `handler.initialize`.
    """
    head = HTTPHeaders(
        {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **dict(sender.trace_context),
        }
    )
    start = RequestStartLine("POST", path, "HTTP/1.1")
    request = UserRequestInProcess(connection=connection, start_line=start, headers=head)
    request.owner, request.username = sender.owner, sender.username
    request.user, request.patient = sender.user, patient
    delegate = application.get_handler_delegate(request, handler, arguments)
    try:
        if (prepared := delegate.headers_received(start, head)) is not None:
            await prepared
        if (taken := delegate.data_received(body)) is not None:
            await taken
        delegate.finish()
        await connection.done
    except asyncio.CancelledError:
        connection.close()
        raise
