"""Queue the engine's events of one request for the handler that reads them."""

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
    Finished,
    Heard,
    Loaded,
    Loading,
    Pinned,
    Prefill,
    Reasoning,
    Reranked,
    Reserved,
    SpeechAudio,
    Spoken,
    Text,
    Tokenized,
    ToolCallArguments,
    Transcribed,
    TranscriptSegment,
    Unloaded,
)
from mlx_notebook.server.errors import ApiError, EngineError, from_failed
from mlx_notebook.server.telemetry.request_traces import Recorder

# End a request when its client leaves this many characters unread.
_MAX_UNREAD = 4 * 1024 * 1024


_LAST_EVENTS = (
    Done
    | Loaded
    | Unloaded
    | Pinned
    | Reserved
    | Tokenized
    | Embedded
    | Reranked
    | Transcribed
    | Spoken
)


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
    """Queue the events of one request, and hand them out in batches.

    Parameters
    ----------
    id
        Id of the request.
    model
        Name of the model that runs it.
    rows
        Number of rows that it takes in the batch.
    owner
        User who sent it (see `identity.owner`).
    recorder
        Records each event for the request's trace.
    hides_reasoning
        Whether to drop the text of reasoning.
    needs_model
        Whether it needs its model in memory. Only unload and pin commands do not.
    urgent
        Whether an editor sent it for somebody who is typing.
    patient
        Whether nobody waits for it.

    Attributes
    ----------
    finished, done
        The last event of each row so far, and the last event of the request, if it succeeded.
    """

    def __init__(
        self,
        id: str,
        model: str,
        rows: int,
        owner: str,
        recorder: Recorder | None = None,
        *,
        hides_reasoning: bool = False,
        needs_model: bool = True,
        urgent: bool = False,
        patient: bool = False,
    ) -> None:
        self.id = id
        self.owner = owner
        self.number = next(_numbers)
        self.model = model
        self.rows = rows
        self.needs_model = needs_model
        self.urgent = urgent
        self.patient = patient
        # Whether it waits for its model to be loaded; None until the engine has said so.
        self.waits_for_model: bool | None = None
        self._recorder = recorder
        self._hides_reasoning = hides_reasoning
        self._began = time.monotonic()
        self.sent = False
        self.ended = False
        self.has_output = False
        self.error: ApiError | None = None
        self._events: list[Event | KeepAlive] = []
        self._unread = 0
        # Tokens of its prompt and of its answer, so far.
        self.tokens = 0
        self.finished: list[Finished] = []
        self.done: Done | None = None
        self._progress: Loading | Prefill | Heard | None = None
        self._ready = asyncio.Event()
        self._last = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the request came in."""
        return time.monotonic() - self._began

    def push(self, event: Event) -> bool:
        """Add an event. Never waits: the task that reads the engine's socket calls this.

        Returns
        -------
        bool
            False if the engine must cancel the request.
        """
        if self.ended:
            return True
        if self.waits_for_model is not False:
            self.waits_for_model = isinstance(event, Loading)
        if self._recorder is not None:
            self._recorder.record(event)
        if isinstance(event, Reasoning) and self._hides_reasoning:
            event = msgspec.structs.replace(event, text="", logprobs=None)
        if isinstance(event, Text | Reasoning):
            self.has_output = True
            self._unread += len(event.text)
            self.tokens += event.tokens
        elif isinstance(event, ToolCallArguments):
            self.has_output = True
            self._unread += len(event.arguments)
        elif isinstance(event, TranscriptSegment):
            self.has_output = True
            self._unread += len(event.text)
            self.tokens += len(event.tokens)
        elif isinstance(event, SpeechAudio):
            self.has_output = True
            self._unread += len(event.data)
        elif isinstance(event, Loading | Prefill | Heard):
            if isinstance(event, Prefill) and not isinstance(self._progress, Prefill):
                self.tokens += event.total
            self._progress = event
        elif isinstance(event, Finished):
            self.finished.append(event)
        elif isinstance(event, Failed):
            self.fail(from_failed(event))
            return True
        elif isinstance(event, _LAST_EVENTS):
            if isinstance(event, Done):
                self.done = event
                self.tokens = event.usage.prompt + event.usage.completion
            elif isinstance(event, Transcribed):
                self.tokens = event.tokens
            elif isinstance(event, Spoken):
                self.tokens = event.prompt + event.tokens
            self.ended = True
        self._events.append(event)
        self._last = time.monotonic()
        self._ready.set()
        if self._unread > _MAX_UNREAD:
            self._events.clear()
            self.fail(
                EngineError("The client did not read the response in time. The request was ended.")
            )
            return False
        return True

    def fail(self, error: ApiError) -> None:
        """End the request with an error, after the events that are queued already."""
        if self.ended:
            return
        self.ended = True
        self.error = error
        self._ready.set()

    def keep_alive(self, interval: float) -> None:
        """Queue a keep-alive if no event has come for `interval` seconds."""
        now = time.monotonic()
        if not self.ended and now - self._last >= interval:
            self._last = now
            self._events.append(_keep_alive(self._progress))
            self._ready.set()

    async def batches(self) -> AsyncIterator[list[Event | KeepAlive]]:
        """Yield all queued events whenever there are some, up to the request's last one.

        Raises
        ------
        ApiError
            If the request failed. All earlier events have been yielded.
        """
        while True:
            await self._ready.wait()
            self._ready.clear()
            events, self._events, self._unread = self._events, [], 0
            if events:
                yield events
            if self._events:
                self._ready.set()
            elif self.error is not None:
                raise self.error
            elif self.ended:
                return


def _keep_alive(progress: Loading | Prefill | Heard | None) -> KeepAlive:
    match progress:
        case Loading(seconds=seconds):
            return KeepAlive(f"keep-alive loading {seconds:.0f} s")
        case Prefill(done=done, total=total):
            return KeepAlive(f"keep-alive prompt {done}/{total}")
        case Heard(done=heard, total=seconds):
            return KeepAlive(f"keep-alive sound {heard:.0f}/{seconds:.0f} s")
    return KeepAlive()
