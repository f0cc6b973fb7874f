"""Answer one message of a WebSocket, as `POST v1/responses` answers a request for a stream."""

import asyncio
from collections.abc import Callable, Iterator

import msgspec
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from mlx_notebook.protocol import ChatPrompt, Generate
from mlx_notebook.server.api.in_process.in_process_request import InProcessConnection, done
from mlx_notebook.server.api.responses.responses import ResponsesHandler
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.responses.last_response import LastResponse
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.prefill_writer import PrefillWriter
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import Item
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.responses.response_tools import OfferedTools
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest
from mlx_notebook.server.wire.responses.socket_messages import error_frame, told_error_frame

_SAID = ("completed", "incomplete")
_CANCELLED = b'"code":"request_cancelled"'
# Many chat templates want a question. What comes before it is the prefix of the next prompt too.
_QUESTION = {"role": "user", "content": "Hello"}


class SocketConnection(InProcessConnection):
    """Sends the events of a stream as the frames of a WebSocket.

    Parameters
    ----------
    send
        Sends a frame, and returns a future for when the client has taken it.

    Attributes
    ----------
    failed
        Whether the response has failed, or there is none. One that was cancelled has not.
    """

    def __init__(self, send: "Callable[[bytes], asyncio.Future[None]]") -> None:
        super().__init__()
        self.failed = False
        self._send = send
        self._error = bytearray()

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Send the events in a part of the body."""
        if self.status >= 400:
            self._error += chunk
            return done()
        last = done()
        for kind, data in _events(chunk):
            if kind == b"error":
                data = told_error_frame(self.status, data, {})
            if kind == b"response.failed" or (kind == b"error" and _CANCELLED not in data):
                self.failed = True
            last = self._send(data)
        written = asyncio.ensure_future(_taken(last))
        # Not every writer waits. Those who do not notice the end by `close`.
        written.add_done_callback(lambda task: task.cancelled() or task.exception())
        return written

    def finish(self) -> None:
        """Send the error, if there is no stream."""
        if self._error and not self.done.done():
            self.failed = True
            self._send(told_error_frame(self.status, bytes(self._error), self.headers))
        super().finish()


class SocketTurnHandler(ResponsesHandler):
    """Answer one message of a WebSocket."""

    def initialize(  # type: ignore[override]
        self, last: LastResponse, generates: bool
    ) -> None:
        """Initialize the state of a request.

        Parameters
        ----------
        last
            The last response of the connection.
        generates
            Whether the model answers. If not, only its prefix cache is prepared.
        """
        super().initialize()
        self._last = last
        self._generates = generates
        self.needs_input = generates

    async def previous_items(self, owner: str, previous: str) -> list[Item]:
        """Return the items of a response and of those before it, which the connection may have."""
        kept = self._last.items(previous)
        return kept if kept is not None else await super().previous_items(owner, previous)

    async def stores(self, request: ResponsesRequest) -> bool:
        """Return whether the response will be stored. One after one that is not stored is not."""
        previous = request.previous_response_id
        if previous is None or self._last.items(previous) is None:
            return await super().stores(request)
        if request.store:
            raise InvalidRequest(
                f"The response {previous!r} is not stored, so none that continues it can be. Send "
                "store=false.",
                param="store",
            )
        return False

    async def response_command(
        self, id: str, request: ResponsesRequest, prompt: ChatPrompt, tools: OfferedTools
    ) -> Generate:
        """Return the command to ask the model, or to compute its prompt only."""
        if self._generates:
            return await super().response_command(id, request, prompt, tools)
        if all(message["role"] != "user" for message in prompt.messages):
            prompt = msgspec.structs.replace(prompt, messages=[*prompt.messages, _QUESTION])
        command = await super().response_command(id, request, prompt, tools)
        sampling = msgspec.structs.replace(command.sampling, max_tokens=1)
        return msgspec.structs.replace(command, sampling=sampling)

    def writer_class(self, mcp: McpRun | None) -> type[ResponseWriter]:
        """Return what writes a response with these MCP servers."""
        return super().writer_class(mcp) if self._generates else PrefillWriter

    async def for_client(self, run: ResponseRun, command: Generate, streamed: bool) -> None:
        """Stream a response, and keep it for the next one."""
        await super().for_client(run, command, streamed)
        if run.response.status in _SAID:
            self._last.keep(run)

    def error_event(self, error: ApiError) -> bytes:
        """Return the event for an error in the middle of a stream."""
        return b"event: error\ndata: %b\n\n" % error_frame(error)


def _events(chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the data of each event. Comments are left out: a WebSocket has pings."""
    for event in chunk.split(b"\n\n"):
        kind, _, data = event.partition(b"\ndata: ")
        if data:
            yield kind.removeprefix(b"event: "), data


async def _taken(future: "asyncio.Future[None]") -> None:
    try:
        await future
    except WebSocketClosedError:
        raise StreamClosedError from None
