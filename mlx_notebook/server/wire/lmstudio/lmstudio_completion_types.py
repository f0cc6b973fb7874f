"""LM Studio's `api/v0/chat/completions` and `api/v0/completions`: OpenAI's, with statistics.

Format: https://lmstudio.ai/docs/developer/rest/endpoints.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from mlx_notebook import __version__, protocol
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import speed
from mlx_notebook.server.wire.openai.chat_request import ChatCompletionRequest
from mlx_notebook.server.wire.openai.chat_response import ChatCompletion
from mlx_notebook.server.wire.openai.text_completion import CompletionRequest, TextCompletion

LmStudioStopReason = Literal[
    "eosFound", "stopStringFound", "maxPredictedTokensReached", "toolCalls", "failed"
]

_INT32 = 2**31 - 1
_MaxTokens = Annotated[int, Meta(ge=-1, le=_INT32)]
_Seconds = Annotated[int, Meta(ge=0, le=_INT32)]
_REASONS: dict[protocol.FinishReason, LmStudioStopReason] = {
    "stop": "eosFound",
    "length": "maxPredictedTokensReached",
    "tool_calls": "toolCalls",
    "content_filter": "failed",
}
R = TypeVar("R", bound=ChatCompletionRequest | CompletionRequest)


class LmStudioChatCompletionRequest(ChatCompletionRequest, kw_only=True):
    """A chat to continue. `max_tokens` of -1 is no limit. `ttl` keeps the model, in seconds."""

    max_tokens: _MaxTokens | None = None
    ttl: _Seconds | None = None


class LmStudioCompletionRequest(CompletionRequest, kw_only=True):
    """Text to continue. `max_tokens` of -1 is no limit. `ttl` keeps the model, in seconds."""

    max_tokens: _MaxTokens | None = None
    ttl: _Seconds | None = None


class LmStudioStats(Struct):
    """Speed of an answer. Times are in seconds."""

    tokens_per_second: float
    time_to_first_token: float
    generation_time: float
    stop_reason: LmStudioStopReason

    @classmethod
    def of(
        cls, ended: Sequence[protocol.Done], rows: Sequence[protocol.Finished]
    ) -> "LmStudioStats":
        """Return the statistics of requests that ran at the same time.

        `rows` are the last events of their rows; the first one has the reason.
        """
        decode = max((done.timings.decode for done in ended), default=0.0)
        first = max((done.timings.first_token for done in ended), default=0.0)
        tokens = sum(done.usage.completion for done in ended)
        reason: LmStudioStopReason = "failed"
        if rows:
            reason = "stopStringFound" if rows[0].stop is not None else _REASONS[rows[0].reason]
        return cls(speed(tokens, decode), round(first, 4), round(decode, 4), reason)


class LmStudioModelInfo(Struct):
    """The model that answered."""

    arch: str
    quant: str
    format: str
    context_length: int


class LmStudioRuntime(Struct):
    """What ran it."""

    name: str = "mlx-notebook"
    version: str = __version__
    supported_formats: tuple[str, ...] = ("mlx", "gguf")


class LmStudioChatCompletion(ChatCompletion, kw_only=True):
    """A chat completion with statistics."""

    stats: LmStudioStats
    model_info: LmStudioModelInfo
    runtime: LmStudioRuntime


class LmStudioTextCompletion(TextCompletion, kw_only=True):
    """A text completion with statistics."""

    stats: LmStudioStats
    model_info: LmStudioModelInfo
    runtime: LmStudioRuntime


def without_limit(request: R) -> R:
    """Return a request whose `max_tokens` is a number of tokens, also if it was -1."""
    if request.max_tokens == -1:
        request.max_tokens = _INT32
    return request


def with_stats(
    completion: ChatCompletion | TextCompletion, stats: LmStudioStats, info: LmStudioModelInfo
) -> LmStudioChatCompletion | LmStudioTextCompletion:
    """Return a completion with its statistics."""
    kind = (
        LmStudioChatCompletion if isinstance(completion, ChatCompletion) else LmStudioTextCompletion
    )
    fields = {name: getattr(completion, name) for name in completion.__struct_fields__}
    return kind(**fields, stats=stats, model_info=info, runtime=LmStudioRuntime())


CHAT_COMPLETION_DECODER = msgspec.json.Decoder(LmStudioChatCompletionRequest)
COMPLETION_DECODER = msgspec.json.Decoder(LmStudioCompletionRequest)
