"""A request: its state from arrival to the last token, its rows, its usage and its timings."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum

from mlx_notebook.engine.generation.output_stream import OutputStream
from mlx_notebook.engine.grammar.constraints import Constraint
from mlx_notebook.engine.prompts.chat_format import OutputPlan
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.protocol import (
    Done,
    Event,
    Finished,
    FinishReason,
    Generate,
    LiveRequest,
    PrefixTrace,
    PromptTokenIds,
    RequestPhase,
    Timings,
    Traced,
    Usage,
)


class RequestState(Enum):
    """What a request waits for, or what runs for it."""

    QUEUED = "waits until its model can be loaded"
    LOADING = "its model is being loaded"
    PREPARING = "a worker makes its prompt"
    SCORING = "the tokens of its prompt are being scored"
    RESTORING = "the KV cache of its prompt is being read from disk"
    READY = "waits for a free row of the batch"
    PREFILL = "its prompt is being computed"
    DECODE = "its tokens are being generated"
    FINISHED = "its answer is complete"
    CANCELLED = "its client has left"
    FAILED = "it ended with an error"


_NEXT = {
    RequestState.QUEUED: {RequestState.LOADING, RequestState.PREPARING},
    RequestState.LOADING: {RequestState.QUEUED, RequestState.PREPARING},
    RequestState.PREPARING: {
        RequestState.SCORING,
        RequestState.RESTORING,
        RequestState.READY,
    },
    RequestState.SCORING: {RequestState.READY},
    RequestState.RESTORING: {RequestState.READY},
    # It goes back to the queue of its model if another model is loaded first.
    RequestState.READY: {RequestState.PREFILL, RequestState.QUEUED, RequestState.FINISHED},
    RequestState.PREFILL: {RequestState.DECODE},
    RequestState.DECODE: {RequestState.FINISHED},
}
_PHASES: dict[RequestState, RequestPhase] = {
    RequestState.LOADING: "loading",
    RequestState.PREFILL: "prefill",
    RequestState.DECODE: "decode",
}


@dataclass(frozen=True)
class PreparedRequest:
    """What a worker made for a request.

    Attributes
    ----------
    prompt, plan
        Its prompt, and how to read and constrain its rows.
    max_tokens
        Most tokens of a row.
    on_disk
        How many tokens of the prompt have their KV cache on disk.
    """

    prompt: PreparedPrompt
    plan: OutputPlan
    max_tokens: int
    on_disk: int


@dataclass(eq=False)
class Sequence:
    """One row of the batch: one of the `n` answers to a request."""

    request: "Request"
    index: int
    uid: int
    output: OutputStream
    constraint: Constraint | None = None
    generated: int = 0
    finished: bool = False


@dataclass(eq=False)
class Request:
    """A `Generate` command and how far it has come.

    Attributes
    ----------
    state
        Changed by `enter` only.
    arrived
        On `time.perf_counter`.
    prepared
        None until a worker has made it.
    cached, prefilled
        Prompt tokens that the prefix cache held, and those that are computed or were held.
    broken
        For its trace: where the prompt differs from the cached one that it continues.
    """

    command: Generate
    state: RequestState = RequestState.QUEUED
    arrived: float = field(default_factory=time.perf_counter)
    prepared: PreparedRequest | None = None
    cached: int = 0
    prefilled: int = 0
    broken: PrefixTrace | None = None
    sequences: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._entered = self.arrived
        self._seconds = dict.fromkeys(RequestState, 0.0)

    @property
    def id(self) -> str:
        """The request's id, which the server chose."""
        return self.command.id

    @property
    def phase(self) -> RequestPhase:
        """The state as clients see it."""
        return _PHASES.get(self.state, "queued")

    @property
    def waits_for_model(self) -> bool:
        """Whether its model is not in memory yet."""
        return self.state in (RequestState.QUEUED, RequestState.LOADING)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt; 0 until it is prepared."""
        return len(self.prepared.prompt.tokens) if self.prepared else 0

    @property
    def generated(self) -> int:
        """Tokens generated so far, in all rows."""
        return sum(sequence.generated for sequence in self.sequences)

    @property
    def rows_to_come(self) -> int:
        """Rows that join once the prompt of the first one is computed."""
        return self.command.n - len(self.sequences)

    @property
    def rows(self) -> int:
        """Rows that it has in the batch, or will have; 0 before it joins."""
        if self.state not in (RequestState.PREFILL, RequestState.DECODE):
            return 0
        return self.command.n - sum(sequence.finished for sequence in self.sequences)

    def enter(self, state: RequestState) -> None:
        """Go on to another state.

        Raises
        ------
        RuntimeError
            If `state` cannot follow the present one.
        """
        following = _NEXT.get(self.state, set())
        ends = state in (RequestState.CANCELLED, RequestState.FAILED)
        if state not in following and not (following and ends):
            raise RuntimeError(f"{self.id} cannot go from {self.state.name} to {state.name}")
        now = time.perf_counter()
        self._seconds[self.state] += now - self._entered
        self.state, self._entered = state, now

    def finish(self, sequence: Sequence, reason: FinishReason, events: list[Event]) -> bool:
        """End a row; return True if it was the last one of the request."""
        sequence.finished = True
        output = sequence.output
        output.finish(cut=reason == "length", events=events)
        if reason == "stop" and output.called:
            reason = "tool_calls"
        events.append(Finished(self.id, sequence.index, reason, output.stopped))
        if self.rows_to_come or not all(s.finished for s in self.sequences):
            return False
        self._close(events)
        return True

    def finish_without_tokens(self, events: list[Event]) -> None:
        """End a request that asked for no tokens."""
        if self.command.token_ids and self.prepared is not None:
            events.append(PromptTokenIds(self.id, self.prepared.prompt.tokens))
        events.extend(Finished(self.id, row, "length") for row in range(self.command.n))
        self._close(events)

    def _close(self, events: list[Event]) -> None:
        if self.command.trace and self.prepared is not None:
            rows = [sequence.output.trace() for sequence in self.sequences]
            events.append(Traced(self.id, self.prepared.prompt.text, rows, self.broken))
        events.append(Done(self.id, self.usage(), self.timings()))
        self.enter(RequestState.FINISHED)

    def usage(self) -> Usage:
        """Return the token counts so far."""
        return Usage(
            self.prompt_tokens,
            self.generated,
            self.cached,
            sum(sequence.output.reasoning_tokens for sequence in self.sequences),
        )

    def timings(self) -> Timings:
        """Return the seconds in each phase so far."""
        seconds: defaultdict[RequestPhase, float] = defaultdict(float)
        for state in RequestState:
            seconds[_PHASES.get(state, "queued")] += self._seconds_in(state)
        return Timings(
            queued=seconds["queued"],
            loading=seconds["loading"],
            prefill=seconds["prefill"],
            first_token=seconds["queued"] + seconds["loading"] + seconds["prefill"],
            decode=seconds["decode"],
        )

    def live(self) -> LiveRequest:
        """Return what the statistics show of this request."""
        decoding = self._seconds_in(RequestState.DECODE)
        return LiveRequest(
            self.id,
            self.command.model,
            self.phase,
            self.prompt_tokens,
            self.cached,
            self.prefilled,
            self.generated,
            self.generated / decoding if decoding > 0.05 else 0.0,
            time.perf_counter() - self.arrived,
        )

    def _seconds_in(self, state: RequestState) -> float:
        """Return the seconds spent in a state, the present one included."""
        seconds = self._seconds[state]
        if state is self.state:
            seconds += time.perf_counter() - self._entered
        return seconds
