"""Events of requests, which the engine sends, and the frames that carry them."""

from typing import Literal

import msgspec

from mlx_notebook.protocol.audio_messages import (
    Heard,
    SpeechAudio,
    Spoken,
    Transcribed,
    TranscriptSegment,
)
from mlx_notebook.protocol.engine_status import Heartbeat, Resident, Stats

# An upstream may also withhold the rest of an answer (`content_filter`). The engine never does.
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


ErrorCode = Literal[
    "invalid_request",
    "invalid_image",
    "invalid_audio",
    "context_length_exceeded",
    "vision_not_supported",
    "audio_not_supported",
    "model_load_failed",
    "insufficient_memory",
    "permission_denied",
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
    """Progress of prefill: `done` of `total` prompt tokens, `cached` of them from the prefix cache.

    Sent once when the request joins the batch (`done == cached`), then after each chunk.
    """

    id: str
    done: int
    total: int
    cached: int


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """One token as text and bytes, its log probability, and the most likely alternatives.

    Attributes
    ----------
    top
        Text, log probability and bytes of each alternative.
    entropy
        Of the distribution that the token was chosen from, in nats. None where it is not known.
    forced
        Whether a grammar allowed no other token.
    """

    token: str
    logprob: float
    bytes: list[int]
    top: list[tuple[str, float, list[int]]]
    entropy: float | None = None
    forced: bool = False


class Text(msgspec.Struct, frozen=True, tag="text", array_like=True):
    """New content of row `row`; `tokens` counts the tokens decoded since the last event."""

    id: str
    row: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning", array_like=True):
    """New reasoning of row `row`; `tokens` counts the tokens decoded since the last event."""

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


class ToolCallArguments(msgspec.Struct, frozen=True, tag="arguments", array_like=True):
    """A piece of a call's arguments. The pieces joined are one JSON text."""

    id: str
    row: int
    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True, tag="finished", array_like=True):
    """The last event of a row. `stop` is the stop string that ended it, if one did."""

    id: str
    row: int
    reason: FinishReason
    stop: str | None = None


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts of a request; `cached` of the `prompt` tokens came from the prefix cache."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Seconds that the phases of a request took. `first_token` is the time to the first token."""

    queued: float
    loading: float
    prefill: float
    first_token: float
    decode: float


class PromptAttention(msgspec.Struct, frozen=True, array_like=True):
    """The attention that the last tokens of a prompt took from those before them.

    All weights are means over layers and heads, from 0 to 1.

    Attributes
    ----------
    layers
        How many layers were recorded.
    mean
        For each token before `Generate.attention_from`: the mean over the tokens from there on.
    tokens
        For each token from there on: the places of the tokens before that it took most from, and
        the weights, the largest first.
    """

    layers: int
    mean: list[float]
    tokens: list[list[tuple[int, float]]]


class PromptLogprobs(msgspec.Struct, frozen=True, tag="prompt_logprobs", array_like=True):
    """Log probabilities of the prompt's tokens; None for the first one.

    `ids` holds the id of each token, followed by the ids of its alternatives. `ranks` holds the
    rank of each token among all tokens (1: the most likely). `attention` is None if the request did
    not ask for it.
    """

    id: str
    tokens: list[TokenLogprob | None]
    ids: list[list[int]]
    ranks: list[int]
    attention: PromptAttention | None = None


class PromptTokenIds(msgspec.Struct, frozen=True, tag="prompt_tokens", array_like=True):
    """Token ids of the prompt as fed, if `Generate.token_ids` is set. Sent before all rows."""

    id: str
    ids: list[int]


class TokenIds(msgspec.Struct, frozen=True, tag="token_ids", array_like=True):
    """Token ids of a row in this step, end tokens included, if `Generate.token_ids` is set."""

    id: str
    row: int
    ids: list[int]


class ParseProblem(msgspec.Struct, frozen=True, array_like=True):
    """Text that began like a tool call but could not be parsed, and the reason."""

    raw: str
    reason: str


class RowTrace(msgspec.Struct, frozen=True, array_like=True):
    """The raw text of one row, with its special tokens, and the calls that could not be parsed."""

    raw: str
    problems: list[ParseProblem]


class PrefixTrace(msgspec.Struct, frozen=True, array_like=True):
    """Where a prompt differs from the cached one that it continues.

    `cached` tokens were used; the token with the index `broke_at` is the first that differs.
    `message` is the number of its message, from 1 on; None: it belongs to no message, for example
    to the tools. `was` and `now` are the beginnings of the cached text and the new one from there.
    """

    cached: int
    broke_at: int
    message: int | None
    was: str
    now: str


class Traced(msgspec.Struct, frozen=True, tag="traced", array_like=True):
    """The rendered prompt and the raw rows, if `Generate.trace` is set. Sent before `Done`.

    `prefix` is set if the prompt continues a cached one that has changed.
    """

    id: str
    prompt: str
    rows: list[RowTrace]
    prefix: PrefixTrace | None = None


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized", array_like=True):
    """Answer to `Tokenize`: the rendered text, its token ids, and the text of each token."""

    id: str
    text: str
    tokens: list[int]
    pieces: list[str]


class Embedded(msgspec.Struct, frozen=True, tag="embedded", array_like=True):
    """Answer to `Embed`: a unit vector per input, in little-endian float32, and the token count."""

    id: str
    vectors: list[bytes]
    tokens: int


class Reranked(msgspec.Struct, frozen=True, tag="reranked", array_like=True):
    """Answer to `Rerank`.

    Attributes
    ----------
    scores
        The score of each document, without bounds: a larger one is more relevant.
    tokens
        Tokens that the model has read.
    truncated
        Of each document that was cut for the model: its place, its tokens, and those that are left.
    """

    id: str
    scores: list[float]
    tokens: int
    truncated: list[tuple[int, int, int]]


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """The last event of a request that succeeded: all of its rows have finished."""

    id: str
    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """The last event of a request that failed.

    `message` says what happened and what to do. `param` names the parameter at fault, if there is
    one.
    """

    id: str
    code: ErrorCode
    message: str
    param: str | None = None


class Loaded(msgspec.Struct, frozen=True, tag="loaded", array_like=True):
    """Answer to `Load`: the model is resident. `seconds` is its load time (0: it was resident)."""

    id: str
    resident: Resident
    seconds: float


class Unloaded(msgspec.Struct, frozen=True, tag="unloaded", array_like=True):
    """Answer to `Unload`; `freed` is in bytes."""

    id: str
    model: str
    freed: int


class Pinned(msgspec.Struct, frozen=True, tag="pinned", array_like=True):
    """Answer to `Pin`: the new state."""

    id: str
    model: str
    pinned: bool


class Reserved(msgspec.Struct, frozen=True, tag="reserved", array_like=True):
    """Answer to `Reserve`: `bytes` of memory are kept free for the job `holder`."""

    id: str
    holder: str
    bytes: int


Event = (
    Ready
    | Loading
    | Prefill
    | Text
    | Reasoning
    | ToolCallStart
    | ToolCallArguments
    | Finished
    | PromptLogprobs
    | PromptTokenIds
    | TokenIds
    | Traced
    | Tokenized
    | Embedded
    | Heard
    | TranscriptSegment
    | Transcribed
    | Reranked
    | SpeechAudio
    | Spoken
    | Done
    | Failed
    | Loaded
    | Unloaded
    | Pinned
    | Reserved
    | Stats
    | Heartbeat
)


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """All events of one step."""

    events: list[Event]
