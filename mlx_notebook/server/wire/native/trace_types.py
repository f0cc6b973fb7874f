"""The traces of `mlx/traces`. Times are in Unix seconds, durations in seconds."""

from typing import Any, Literal

from msgspec import Struct

# The longest title of a trace, in characters.
_TITLE_LENGTH = 120

TraceStatus = Literal["running", "finished", "failed", "cancelled"]


class TracedCall(Struct):
    """A parsed tool call. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class TracedProblem(Struct):
    """Text that looked like a tool call but could not be parsed, and why."""

    raw: str
    reason: str


class TracedSequence(Struct):
    """One of a request's sequences.

    `raw` is the model's output with special tokens, set when the request has finished.
    `finish_reason` is set when the sequence has finished.
    """

    index: int
    content: str
    reasoning: str
    calls: list[TracedCall]
    raw: str | None = None
    problems: list[TracedProblem] = []
    finish_reason: str | None = None


class TracedUsage(Struct):
    """Token counts. `cached_tokens` of the prompt came from the prefix cache."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class TracedPrefix(Struct):
    """Where a prompt differs from the cached one that it continues.

    The prefix cache was used up to token `cached`. The tokens differ from index `broke_at` on, in
    message number `message`, counted from 1; null: outside of the messages, for example in the
    tools. `was` and `now` are the beginnings of the two texts from there on.
    """

    cached: int
    broke_at: int
    message: int | None
    was: str
    now: str


class TracedTimings(Struct):
    """How long each phase of a request took.

    `first_token` is measured from the request's arrival in the engine.
    """

    queued: float
    loading: float
    prefill: float
    first_token: float
    decode: float


class TracedUpstream(Struct):
    """The upstream that answered a request.

    `host` is that of its URL, `model` its own name of the model, and `request_id` its own id of the
    request. `parameters` are those that it got as the client sent them.
    """

    name: str
    host: str
    model: str
    parameters: dict[str, Any] = {}
    request_id: str | None = None


class TracedError(Struct):
    """Why a request failed."""

    message: str
    code: str


class TraceSummary(Struct, kw_only=True):
    """A request in the list of traces.

    `title` is the beginning of the last user message. For `first_token` see `TracedTimings`.
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
    """The trace of one request.

    `messages`, `tools` and `options` are those that the engine received. `prompt` is the rendered
    chat, or the text or token ids of a text completion. `prefix` is set when the request has
    finished, if its prompt continues a cached one that has changed. `ignored` are the request's
    parameters that the server ignored, `notices` what of its documents and videos the model did not
    see. `upstream` is set for a model of an upstream, which shows
    neither its prompt nor its raw output, and does not tell how long a request waited.
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
    prefix: TracedPrefix | None = None
    ignored: list[str] = []
    notices: list[str] = []
    upstream: TracedUpstream | None = None

    def summary(self) -> TraceSummary:
        """Return the entry of this trace in the list."""
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
        texts = [message["content"] for message in self.messages if message.get("role") == "user"]
        # A transcript is all the text that there is.
        written = self.rows[0].content if self.rows and self.prompt is None else None
        content = texts[-1] if texts else self.prompt or written
        if isinstance(content, list):
            content = " ".join(_part_text(part) for part in content if isinstance(part, dict))
        return " ".join(str(content or "")[: 2 * _TITLE_LENGTH].split())[:_TITLE_LENGTH]


def _part_text(part: dict[str, Any]) -> str:
    """Return the text of a part of a message, or a word for what it is."""
    kind = part.get("type")
    return str(part.get("text", "[sound]" if kind == "audio" else f"[{kind}]"))


class TraceList(Struct):
    """The traces of this user's last requests, newest first."""

    data: list[TraceSummary]
    object: Literal["list"] = "list"
