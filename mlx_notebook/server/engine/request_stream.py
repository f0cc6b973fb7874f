"""The events of one request on their way from the engine to its handler."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from mlx_notebook.protocol import (
    Done,
    Embedded,
    Event,
    Failed,
    Loaded,
    Loading,
    Pinned,
    Prefill,
    Reasoning,
    Text,
    Tokenized,
    ToolCallArguments,
    Unloaded,
)
from mlx_notebook.server.errors import ApiError, EngineError, from_failed
from mlx_notebook.server.telemetry.request_traces import TraceRecorder

# A client that reads slower than the model writes: beyond this many characters it is given up.
_MOST_WAITING = 4 * 1024 * 1024


_numbers = itertools.count(1)


class KeepAlive(Struct, frozen=True):
    """No event has come for a while, and the client should see that its request lives.

    Attributes
    ----------
    text
        What the request waits for, as far as it is known.
    """

    text: str = "keep-alive"


class RequestStream:
    """The events of one request, in batches of what has come since the last look.

    Args:
        id: The request's id.
        model: The model it runs on.
        rows: How many rows it takes in the batch.
        owner: Whose request it is (see `identity.owner`).
        recorder: Sees each event too, if there is one.
        hides_reasoning: Keep the thinking from the handler.
        needs_model: It needs its model in memory, as all do but orders to unload or pin one.
    """

    def __init__(
        self,
        id: str,
        model: str,
        rows: int,
        owner: str,
        recorder: TraceRecorder | None = None,
        *,
        hides_reasoning: bool = False,
        needs_model: bool = True,
    ) -> None:
        self.id = id
        self.owner = owner
        self.number = next(_numbers)
        self.model = model
        self.rows = rows
        self.needs_model = needs_model
        # Whether it waits for its model to be loaded; None until the engine says so.
        self.waits_for_model: bool | None = None
        self._recorder = recorder
        self._hides_reasoning = hides_reasoning
        self._began = time.monotonic()
        self.sent = False
        self.ended = False
        self.error: ApiError | None = None
        self._events: list[Event | KeepAlive] = []
        self._waiting = 0
        self._progress: Loading | Prefill | None = None
        self._news = asyncio.Event()
        self._last = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the request came in."""
        return time.monotonic() - self._began

    def push(self, event: Event) -> bool:
        """Take an event in; called by the engine's reader, never waits.

        Returns whether the request goes on: False asks for its cancellation.
        """
        if self.ended:
            return True
        if self.waits_for_model is not False:
            self.waits_for_model = isinstance(event, Loading)
        if self._recorder is not None:
            self._recorder.see(event)
        if isinstance(event, Reasoning) and self._hides_reasoning:
            event = msgspec.structs.replace(event, text="", logprobs=None)
        if isinstance(event, Text | Reasoning):
            self._waiting += len(event.text)
        elif isinstance(event, ToolCallArguments):
            self._waiting += len(event.arguments)
        elif isinstance(event, Loading | Prefill):
            self._progress = event
        elif isinstance(event, Failed):
            self.fail(from_failed(event))
            return True
        elif isinstance(event, Done | Loaded | Unloaded | Pinned | Tokenized | Embedded):
            self.ended = True
        self._events.append(event)
        self._last = time.monotonic()
        self._news.set()
        if self._waiting > _MOST_WAITING:
            self._events.clear()
            self.fail(
                EngineError("The client did not read its answer in time, so the request was ended.")
            )
            return False
        return True

    def fail(self, error: ApiError) -> None:
        """End the request with an error, after what has come so far."""
        if self.ended:
            return
        self.ended = True
        self.error = error
        self._news.set()

    def keep_alive(self, interval: float) -> None:
        """Tell the handler, if `interval` seconds passed without news."""
        now = time.monotonic()
        if not self.ended and now - self._last >= interval:
            self._last = now
            self._events.append(_keep_alive(self._progress))
            self._news.set()

    async def batches(self) -> AsyncIterator[list[Event | KeepAlive]]:
        """Yield the events as they come, up to the request's last one.

        Raises:
            ApiError: The request failed; everything that came before was yielded.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            events, self._events, self._waiting = self._events, [], 0
            if events:
                yield events
            if self._events:
                self._news.set()
            elif self.error is not None:
                raise self.error
            elif self.ended:
                return


def _keep_alive(progress: Loading | Prefill | None) -> KeepAlive:
    match progress:
        case Loading(seconds=seconds):
            return KeepAlive(f"keep-alive loading {seconds:.0f} s")
        case Prefill(done=done, total=total):
            return KeepAlive(f"keep-alive prompt {done}/{total}")
    return KeepAlive()
