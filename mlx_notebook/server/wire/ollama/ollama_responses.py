"""Answers of Ollama's `api/chat` and `api/generate`: whole, or as lines of a stream.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md. Durations are in nanoseconds.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from mlx_notebook.protocol import TokenLogprob


class OllamaErrorBody(Struct):
    """An error, in a response or as the last line of a stream."""

    error: str


class OllamaTopLogprob(Struct):
    """One of the most likely tokens at a position, as text and as UTF-8 bytes."""

    token: str
    logprob: float
    bytes: list[int]


class OllamaLogprob(OllamaTopLogprob):
    """A token of the answer, with the most likely tokens at its position."""

    top_logprobs: list[OllamaTopLogprob] = field(default_factory=list)

    @classmethod
    def of(cls, token: TokenLogprob) -> "OllamaLogprob":
        """Return the engine's log probabilities of a token in Ollama's shape."""
        top = [OllamaTopLogprob(text, logprob, raw) for text, logprob, raw in token.top]
        return cls(token.token, token.logprob, token.bytes, top)


class OllamaFunctionCall(Struct):
    """The function that the model calls, with its arguments as an object."""

    index: int
    name: str
    arguments: dict[str, Any]


class OllamaToolCall(Struct):
    """A complete tool call of the model."""

    id: str
    function: OllamaFunctionCall


class OllamaAnswerMessage(Struct):
    """The answer to a chat, or its new part in a stream."""

    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[OllamaToolCall] | UnsetType = UNSET
    role: str = "assistant"


class OllamaAnswer(Struct, kw_only=True):
    """What the answers of both routes share. The counts and durations are set in the last one.

    `prompt_eval_count` and `eval_count` are tokens.
    """

    model: str
    created_at: str
    done: bool = False
    done_reason: str | UnsetType = UNSET
    logprobs: list[OllamaLogprob] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class OllamaChatAnswer(OllamaAnswer, kw_only=True):
    """An answer of `api/chat`."""

    message: OllamaAnswerMessage


class OllamaGenerateAnswer(OllamaAnswer, kw_only=True):
    """An answer of `api/generate`."""

    response: str
    thinking: str | UnsetType = UNSET


def moment(seconds: float | None = None) -> str:
    """Return a time as Ollama writes it, in UTC.

    Parameters
    ----------
    seconds
        Seconds since 1970; None for now.
    """
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    """Return a duration as Ollama sends it."""
    return max(0, round(seconds * 1e9))


def line(value: Struct) -> bytes:
    """Return one line of a stream."""
    return msgspec.json.encode(value) + b"\n"
