"""`mlx/traces`: what became of the last requests. Times are Unix seconds, durations seconds."""

from typing import Any, Literal

from msgspec import Struct

# Characters of a request that a list shows.
_TITLE = 120

TraceStatus = Literal["running", "finished", "failed", "cancelled"]


class TracedCall(Struct):
    """A tool call as it was parsed; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class TracedProblem(Struct):
    """Text that looked like a tool call and was none, and why."""

    raw: str
    reason: str


class TracedSequence(Struct):
    """One of a request's sequences. `raw` is what the model wrote, marks included.

    `raw` is there once the request has finished; `finish_reason` once the sequence has.
    """

    index: int
    content: str
    reasoning: str
    calls: list[TracedCall]
    raw: str | None = None
    problems: list[TracedProblem] = []
    finish_reason: str | None = None


class TracedUsage(Struct):
    """Token counts; `cached_tokens` of the prompt were reused."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class TracedTimings(Struct):
    """How long the request waited, loaded its model, computed its prompt, and so on.

    `first_token` counts from the request's arrival in the engine.
    """

    queued: float
    loading: float
    prefill: float
    first_token: float
    decode: float


class TracedError(Struct):
    """Why a request failed."""

    message: str
    code: str


class TraceSummary(Struct, kw_only=True):
    """A request in the list of traces.

    `title` is how the last message of the user begins; `first_token` see `TracedTimings`.
    """

    id: str
    title: str
    endpoint: str
    model: str
    status: TraceStatus
    created: float
    seconds: float
    usage: TracedUsage | None
    first_token: float | None
    calls: list[str]
    problems: int
    error: TracedError | None


class Trace(Struct, kw_only=True):
    """Everything about one request.

    `messages`, `tools` and `options` are what the engine was told, `prompt` what the chat template
    made of it (or the text or token ids that were fed as they are). `ignored` are the request's
    parameters that nothing here uses.
    """

    id: str
    endpoint: str
    model: str
    status: TraceStatus
    created: float
    seconds: float
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    options: dict[str, Any]
    prompt: str | list[int] | None
    rows: list[TracedSequence]
    usage: TracedUsage | None = None
    timings: TracedTimings | None = None
    error: TracedError | None = None
    ignored: list[str] = []

    def summary(self) -> TraceSummary:
        """Return the trace's line in the list."""
        return TraceSummary(
            id=self.id,
            title=self._title(),
            endpoint=self.endpoint,
            model=self.model,
            status=self.status,
            created=self.created,
            seconds=self.seconds,
            usage=self.usage,
            first_token=self.timings.first_token if self.timings else None,
            calls=[call.name for row in self.rows for call in row.calls],
            problems=sum(len(row.problems) for row in self.rows),
            error=self.error,
        )

    def _title(self) -> str:
        said = [message["content"] for message in self.messages if message.get("role") == "user"]
        content = said[-1] if said else self.prompt
        if isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            content = " ".join(str(part.get("text", "[image]")) for part in parts)
        return " ".join(str(content or "")[: 2 * _TITLE].split())[:_TITLE]


class TraceList(Struct):
    """The last requests of this user, newest first."""

    data: list[TraceSummary]
    object: Literal["list"] = "list"
