"""Answer the lines of batches with the handlers that answer requests from outside."""

from tornado.web import Application

from mlx_notebook.server.api.anthropic.messages import MessagesHandler
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.in_process.in_process_request import MemoryConnection, post_in_process
from mlx_notebook.server.api.openai.chat_completions import ChatCompletionsHandler
from mlx_notebook.server.api.openai.completions import CompletionsHandler
from mlx_notebook.server.api.openai.embeddings import EmbeddingsHandler
from mlx_notebook.server.api.responses.responses import ResponsesHandler
from mlx_notebook.server.batches.batch_record import Sender
from mlx_notebook.server.batches.line_answers import LineAnswer

_HANDLERS: dict[str, type[ApiHandler]] = {
    "v1/chat/completions": ChatCompletionsHandler,
    "v1/completions": CompletionsHandler,
    "v1/embeddings": EmbeddingsHandler,
    "v1/responses": ResponsesHandler,
    "v1/messages": MessagesHandler,
}
# A failure of the server or the engine is tried again after this time, in seconds.
_RETRY_SECONDS = 1.0


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
        connection = MemoryConnection()
        await post_in_process(
            self._application,
            self._base_url + endpoint,
            _HANDLERS[endpoint],
            sender,
            body,
            connection,
            patient=True,
        )
        return _answer(connection)


def _answer(connection: MemoryConnection) -> LineAnswer:
    status, headers = connection.status, connection.headers
    retry: float | None = None
    if status == 429:
        retry = float(headers.get("Retry-After", _RETRY_SECONDS))
    elif status >= 500 and headers.get("x-should-retry") != "false":
        retry = _RETRY_SECONDS
    id = headers.get("x-request-id") or headers.get("request-id") or ""
    return LineAnswer(status, bytes(connection.body), id, retry)
