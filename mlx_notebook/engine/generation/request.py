"""A request and its rows, from arrival to the last token."""

import time
from dataclasses import dataclass, field

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
    PromptTokenIds,
    RequestPhase,
    Timings,
    Traced,
    Usage,
)


@dataclass(eq=False)
class Sequence:
    """One row being generated."""

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

    Moments are readings of `time.perf_counter`; 0 means not yet.
    """

    command: Generate
    phase: RequestPhase = "queued"
    prompt: PreparedPrompt | None = None
    plan: OutputPlan = field(default_factory=OutputPlan)
    max_tokens: int = 0
    cached: int = 0
    prefilled: int = 0
    sequences: list[Sequence] = field(default_factory=list)
    arrived: float = field(default_factory=time.perf_counter)
    loading_since: float = 0.0
    loaded: float = 0.0
    admitted: float = 0.0
    first_token: float = 0.0

    @property
    def id(self) -> str:
        """The request's id, as the server chose it."""
        return self.command.id

    @property
    def generated(self) -> int:
        """Tokens generated so far, in all rows."""
        return sum(sequence.generated for sequence in self.sequences)

    @property
    def rows_to_come(self) -> int:
        """Rows that will join once the first one's prompt is computed."""
        return self.command.n - len(self.sequences)

    def finish(self, sequence: Sequence, reason: FinishReason, events: list[Event]) -> bool:
        """End a row; True if that ended the request."""
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

    def end(self, events: list[Event]) -> None:
        """End a request that asked for no tokens."""
        if self.command.token_ids and self.prompt is not None:
            events.append(PromptTokenIds(self.id, self.prompt.tokens))
        events.extend(Finished(self.id, row, "length") for row in range(self.command.n))
        self._close(events)

    def _close(self, events: list[Event]) -> None:
        if self.command.trace and self.prompt is not None:
            rows = [s.output.trace() for s in self.sequences]
            events.append(Traced(self.id, self.prompt.text, rows))
        events.append(Done(self.id, self.usage(), self.timings()))

    def usage(self) -> Usage:
        """Token counts so far."""
        return Usage(
            len(self.prompt.tokens) if self.prompt else 0,
            self.generated,
            self.cached,
            sum(sequence.output.reasoning_tokens for sequence in self.sequences),
        )

    def timings(self) -> Timings:
        """Seconds spent in each phase."""
        now = time.perf_counter()
        loading = self.loaded - self.loading_since if self.loaded else 0.0
        admitted = self.admitted or now
        first = self.first_token or now
        return Timings(
            queued=max(0.0, admitted - self.arrived - loading),
            loading=loading,
            prefill=first - admitted,
            first_token=first - self.arrived,
            decode=now - first,
        )

    def live(self) -> LiveRequest:
        """What the status shows of this request."""
        now = time.perf_counter()
        decoding = now - self.first_token if self.first_token else 0.0
        return LiveRequest(
            self.id,
            self.command.model,
            self.phase,
            len(self.prompt.tokens) if self.prompt else 0,
            self.cached,
            self.prefilled,
            self.generated,
            self.generated / decoding if decoding > 0.05 else 0.0,
            now - self.arrived,
        )
