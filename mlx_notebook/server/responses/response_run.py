"""Hold one response while it runs, and its events for clients that follow it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.response_store import Item
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.responses import response_events as wire
from mlx_notebook.server.wire.responses.response_object import Response


class ResponseRun:
    """Run one response, and keep its events for clients that follow it.

    Parameters
    ----------
    owner
        User who asked for it.
    writer
        Writer of the response.
    input_items
        Input items of its request, without those of the responses before it.
    ignored
        Parameters of its request that this server does not use.
    notices
        What of its documents and videos the model does not see.
    """

    def __init__(
        self,
        owner: str,
        writer: ResponseWriter,
        input_items: list[Item],
        ignored: list[str],
        notices: list[str],
    ) -> None:
        self.owner = owner
        self.writer = writer
        self.input_items = input_items
        self.ignored = ignored
        # See `RequestOrigin`.
        self.trace_context: dict[str, str] = {}
        self.notices = notices
        # Items before its own that the model reads: of earlier responses, or of its conversation.
        self.before: list[Item] = []
        self.deleted = False
        # What must be released at the end of a background response.
        self.claims = AsyncExitStack()
        # The tools of MCP servers, if the request has some.
        self.mcp: McpRun | None = None
        self.ended_at: float | None = None
        self._events: list[bytes] = []
        self._changed = asyncio.Event()

    @property
    def response(self) -> Response:
        """The response so far."""
        return self.writer.response

    def record(self, events: list[wire.ResponseEvent]) -> None:
        """Add events for the clients that follow."""
        self._events.extend(wire.encode_event(event) for event in events)
        self._wake()

    def end(self) -> None:
        """Mark the end, for the clients that follow."""
        self.ended_at = time.monotonic()
        self._wake()

    async def follow(
        self, after: int = -1, keep_alive_seconds: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the events after the event `after`, up to the last one.

        With `keep_alive_seconds`, yield nothing (`b""`) each time that none comes for so long.
        """
        at = after + 1
        while True:
            changed = self._changed
            if at < len(self._events):
                data, at = b"".join(self._events[at:]), len(self._events)
                yield data
            elif self.ended_at is not None:
                return
            else:
                try:
                    async with asyncio.timeout(keep_alive_seconds):
                        await changed.wait()
                except TimeoutError:
                    yield b""

    async def settled(self) -> None:
        """Wait until the response has ended and has been stored."""
        while self.ended_at is None:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
