"""What the engine answers: the events of requests, and the frames that carry them."""

from typing import Literal

import msgspec

from mlx_notebook.protocol.status import Resident, Stats, Working

FinishReason = Literal["stop", "length", "tool_calls"]


ErrorCode = Literal[
    "invalid_request",
    "invalid_image",
    "context_length_exceeded",
    "vision_not_supported",
    "model_not_found",
    "model_load_failed",
    "insufficient_memory",
    "queue_full",
    "constraint_failed",
    "engine_error",
]


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The first event of an engine process."""

    pid: int
    device: str
    versions: dict[str, str]


class Loading(msgspec.Struct, frozen=True, tag="loading", array_like=True):
    """Request `id` waits for its model, which has been loading for `seconds`."""

    id: str
    model: str
    seconds: float


class Prefill(msgspec.Struct, frozen=True, tag="prefill", array_like=True):
    """`done` of `total` prompt tokens of request `id` are computed, `cached` of them reused.

    Sent once when the prompt is admitted (`done == cached`), then after each chunk.
    """

    id: str
    done: int
    total: int
    cached: int


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """One token as text and bytes, its log probability, and the most likely alternatives."""

    token: str
    logprob: float
    bytes: list[int]
    top: list[tuple[str, float, list[int]]]


class Text(msgspec.Struct, frozen=True, tag="text", array_like=True):
    """New content of row `row`; `tokens` is how many tokens were decoded since the last event."""

    id: str
    row: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning", array_like=True):
    """New text of the model's thinking."""

    id: str
    row: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class ToolCallStart(msgspec.Struct, frozen=True, tag="call", array_like=True):
    """The `index`-th tool call of a row begins."""

    id: str
    row: int
    index: int
    call_id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True, tag="arguments", array_like=True):
    """More of a call's arguments: JSON text, to be concatenated."""

    id: str
    row: int
    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True, tag="finished", array_like=True):
    """A row ended; nothing more of it follows. `stop` is the stop text that ended it, if any."""

    id: str
    row: int
    reason: FinishReason
    stop: str | None = None


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts of a whole request; `cached` is the part of `prompt` that was reused."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Seconds that a request waited, loaded its model, prefilled, took to a token, decoded."""

    queued: float
    loading: float
    prefill: float
    first_token: float
    decode: float


class PromptLogprobs(msgspec.Struct, frozen=True, tag="prompt_logprobs", array_like=True):
    """Log probabilities of the prompt's own tokens; of the first one there is none.

    `ids` holds for each token its id and those of its alternatives, `ranks` its place among all
    tokens (1: the likeliest).
    """

    id: str
    tokens: list[TokenLogprob | None]
    ids: list[list[int]]
    ranks: list[int]


class PromptTokens(msgspec.Struct, frozen=True, tag="prompt_tokens", array_like=True):
    """For a `Generate` with `token_ids`, before anything else of its rows: the prompt as fed."""

    id: str
    ids: list[int]


class TokenIds(msgspec.Struct, frozen=True, tag="token_ids", array_like=True):
    """For a `Generate` with `token_ids`: what a row was given in this step, end tokens too."""

    id: str
    row: int
    ids: list[int]


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """Text that looked like a tool call and was none, and why."""

    raw: str
    reason: str


class RowTrace(msgspec.Struct, frozen=True, array_like=True):
    """What one row's model really wrote, marks included, and what could not be parsed of it."""

    raw: str
    problems: list[Problem]


class Traced(msgspec.Struct, frozen=True, tag="traced", array_like=True):
    """For a `Generate` with `trace`, just before its last event: the prompt as it was fed."""

    id: str
    prompt: str
    rows: list[RowTrace]


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized", array_like=True):
    """Answer to `Tokenize`: the text that is fed, its tokens, and each one's own text if asked."""

    id: str
    text: str
    tokens: list[int]
    pieces: list[str]


class Embedded(msgspec.Struct, frozen=True, tag="embedded", array_like=True):
    """Answer to `Embed`: one unit vector an input, as little-endian float32; `tokens` were fed."""

    id: str
    vectors: list[bytes]
    tokens: int


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """The last event of a request that was answered: all of its rows have finished."""

    id: str
    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """The last event of a request that could not be answered, or not to its end.

    `message` says in one sentence what happened and what to do; `param` is the request's
    parameter at fault, if one is.
    """

    id: str
    code: ErrorCode
    message: str
    param: str | None = None


class Loaded(msgspec.Struct, frozen=True, tag="loaded", array_like=True):
    """Answer to `Load`: the model is resident; `seconds` is how long that took (0 if it was)."""

    id: str
    resident: Resident
    seconds: float


class Unloaded(msgspec.Struct, frozen=True, tag="unloaded", array_like=True):
    """Answer to `Unload`; `freed` bytes were given back."""

    id: str
    model: str
    freed: int


class Pinned(msgspec.Struct, frozen=True, tag="pinned", array_like=True):
    """Answer to `Pin`: how it is now."""

    id: str
    model: str
    pinned: bool


Event = (
    Ready
    | Loading
    | Prefill
    | Text
    | Reasoning
    | ToolCallStart
    | ToolCallDelta
    | Finished
    | PromptLogprobs
    | PromptTokens
    | TokenIds
    | Traced
    | Tokenized
    | Embedded
    | Done
    | Failed
    | Loaded
    | Unloaded
    | Pinned
    | Stats
    | Working
)


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """All events of one step."""

    events: list[Event]
