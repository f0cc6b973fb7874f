"""The responses of `POST v1/chat/completions`, complete and streamed.

Formats: https://platform.openai.com/docs/api-reference/chat/object and .../chat/streaming.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol
from mlx_notebook.protocol import FinishReason
from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs


class PromptTokensDetails(Struct):
    """`cached_tokens` of the prompt came from the prefix cache."""

    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Struct):
    """`reasoning_tokens` of the completion were reasoning."""

    reasoning_tokens: int
    audio_tokens: int = 0


class CompletionUsage(Struct):
    """Token counts of a request, summed over its choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: protocol.Usage) -> "CompletionUsage":
        """Return the engine's counts in OpenAI's shape."""
        return cls(
            usage.prompt,
            usage.completion,
            usage.prompt + usage.completion,
            PromptTokensDetails(usage.cached),
            CompletionTokensDetails(usage.reasoning),
        )


class ResponseTimings(Struct):
    """Seconds that the server took for the first token of a stream.

    `first_token` is the time from when the server had the whole request until it sent the first
    token. In it the request was `queued`, its model was `loading`, and its prompt was computed
    (`prefill`).
    """

    first_token: float
    queued: float
    loading: float
    prefill: float

    @classmethod
    def of(cls, timings: protocol.Timings, first_token: float) -> "ResponseTimings":
        """Return the engine's times, and the server's own time to the first token."""
        times = (first_token, timings.queued, timings.loading, timings.prefill)
        return cls(*(round(time, 4) for time in times))


class ChatCompletionFunction(Struct):
    """The function of a tool call. `arguments` is JSON text."""

    name: str
    arguments: str


class ChatCompletionToolCall(Struct):
    """A tool call of the model."""

    id: str
    function: ChatCompletionFunction
    type: Literal["function"] = "function"


class ChoiceLogprobs(Struct):
    """Log probabilities of a choice's content tokens."""

    content: list[Logprob] | None
    refusal: None = None

    @classmethod
    def of(cls, tokens: list[protocol.TokenLogprob]) -> "ChoiceLogprobs":
        """Return the engine's log probabilities in OpenAI's shape."""
        return cls([Logprob.of(token) for token in tokens])


class ChatCompletionMessage(Struct):
    """The answer. Reasoning is sent under both names that clients read."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ChatCompletionToolCall] | UnsetType = UNSET


class ChatChoice(Struct):
    """One of `n` answers."""

    index: int
    message: ChatCompletionMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletion(Struct):
    """A complete response.

    Token ids, prompt log probabilities and metadata are present if the request asks for them.
    `store` is false if the response should have been stored but could not be.
    """

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    system_fingerprint: str
    object: Literal["chat.completion"] = "chat.completion"
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptTokenLogprobs | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    store: bool | UnsetType = UNSET


class ChoiceDeltaFunction(Struct):
    """The name of a tool call, or the next part of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str = ""


class ChoiceDeltaToolCall(Struct):
    """A new part of a tool call. The first one has `id` and `type`."""

    index: int
    function: ChoiceDeltaFunction
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChoiceDelta(Struct):
    """The new content of a choice."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ChoiceDeltaToolCall] | UnsetType = UNSET


class ChunkChoice(Struct):
    """The new part of one of `n` answers."""

    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletionChunk(Struct):
    """One chunk of a stream. If requested, a last chunk without choices has `usage` and `timings`.

    If requested, the first chunk has `prompt_token_ids`. In the last chunks `store` is false if the
    response should have been stored but could not be.
    """

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: CompletionUsage | UnsetType | None = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    timings: ResponseTimings | UnsetType = UNSET


class ChunkEncoder:
    """Encodes the chunks of one request as server-sent events.

    Chunks with text are the most frequent, and differ only in the row and the text. So everything
    else in them is encoded once.
    """

    def __init__(
        self, id: str, created: int, model: str, fingerprint: str, include_usage: bool
    ) -> None:
        self._empty = ChatCompletionChunk(
            id, created, model, [], fingerprint, usage=None if include_usage else UNSET
        )
        self._encoder = msgspec.json.Encoder()
        sample = self.choice(ChunkChoice(0, ChoiceDelta(content="?")))
        self._head, self._tail = sample.split(b'0,"delta":{"content":"?"', 1)

    def mark_not_stored(self) -> None:
        """Set `store` to false in all further chunks."""
        self._empty = msgspec.structs.replace(self._empty, store=False)

    def text(self, row: int, text: str) -> bytes:
        """Return the event for new text of a row."""
        encoded = self._encoder.encode(text)
        return b'%b%d,"delta":{"content":%b%b' % (self._head, row, encoded, self._tail)

    def choice(
        self,
        choice: ChunkChoice,
        usage: protocol.Usage | None = None,
        prompt: list[int] | None = None,
    ) -> bytes:
        """Return the event for a choice, with token counts so far and the prompt's token ids."""
        chunk = msgspec.structs.replace(self._empty, choices=[choice])
        if usage is not None:
            chunk.usage = CompletionUsage.of(usage)
        if prompt is not None:
            chunk.prompt_token_ids = prompt
        return b"data: %b\n\n" % self._encoder.encode(chunk)

    def usage(self, usage: protocol.Usage, timings: ResponseTimings) -> bytes:
        """Return the event for the token counts and times."""
        counts = CompletionUsage.of(usage)
        chunk = msgspec.structs.replace(self._empty, usage=counts, timings=timings)
        return b"data: %b\n\n" % self._encoder.encode(chunk)
