"""Answer the lines of batches with the handlers that answer requests from outside."""

import asyncio
from collections.abc import Callable
from typing import cast

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from mlx_notebook.server.api.anthropic.messages import MessagesHandler
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.openai.chat_completions import ChatCompletionsHandler
from mlx_notebook.server.api.openai.completions import CompletionsHandler
from mlx_notebook.server.api.openai.embeddings import EmbeddingsHandler
from mlx_notebook.server.api.responses.responses import ResponsesHandler
from mlx_notebook.server.batches.batch_record import Sender
from mlx_notebook.server.batches.line_answers import LineAnswer
from mlx_notebook.server.users.request_user import UserRequestInProcess

_HANDLERS: dict[str, type[ApiHandler]] = {
    "v1/chat/completions": ChatCompletionsHandler,
    "v1/completions": CompletionsHandler,
    "v1/embeddings": EmbeddingsHandler,
    "v1/responses": ResponsesHandler,
    "v1/messages": MessagesHandler,
}
# A failure of the server or the engine is tried again after this time, in seconds.
_RETRY_SECONDS = 1.0


class _MemoryConnection(HTTPConnection):
    """Takes a response, in place of a connection to a client.

    Attributes
    ----------
    status, headers, body
        The response.
    done
        Whether it is complete.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers = HTTPHeaders()
        self.body = bytearray()
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

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Take a part of the body."""
        self.body += chunk
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.set_result(None)
        return written

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


class LineSender:
    """Sends the lines of batches to the handlers of this server.

    Parameters
    ----------
    application
        The server's application.
    base_url
        Its base URL.
    """

    def __init__(self, application: Application, base_url: str) -> None:
        self._application = application
        self._base_url = base_url

    async def send(self, sender: Sender, endpoint: str, body: bytes) -> LineAnswer:
        """Return the answer of a route to a request of a user.

        A cancelled call cancels the request.
        """
        connection = _MemoryConnection()
        headers = HTTPHeaders(
            {
                "Host": "localhost",
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **dict(sender.trace_context),
            }
        )
        start = RequestStartLine("POST", self._base_url + endpoint, "HTTP/1.1")
        request = UserRequestInProcess(connection=connection, start_line=start, headers=headers)
        request.owner, request.username = sender.owner, sender.username
        request.user = sender.user
        delegate = self._application.get_handler_delegate(request, _HANDLERS[endpoint])
        try:
            if (prepared := delegate.headers_received(start, headers)) is not None:
                await prepared
            if (taken := delegate.data_received(body)) is not None:
                await taken
            delegate.finish()
            await connection.done
        except asyncio.CancelledError:
            connection.close()
            raise
        return _answer(connection)


def _answer(connection: _MemoryConnection) -> LineAnswer:
    status, headers = connection.status, connection.headers
    retry: float | None = None
    if status == 429:
        retry = float(headers.get("Retry-After", _RETRY_SECONDS))
    elif status >= 500 and headers.get("x-should-retry") != "false":
        retry = _RETRY_SECONDS
    id = headers.get("x-request-id") or headers.get("request-id") or ""
    return LineAnswer(status, bytes(connection.body), id, retry)
