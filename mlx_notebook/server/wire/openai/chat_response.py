"""`POST v1/chat/completions`: what goes out, whole and as chunks.

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
    """`cached_tokens` of the prompt were not computed again."""

    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Struct):
    """`reasoning_tokens` of the completion were thinking."""

    reasoning_tokens: int
    audio_tokens: int = 0


class CompletionUsage(Struct):
    """Token counts of a request, over all of its choices."""

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


class ChatCompletionFunction(Struct):
    """A function and its arguments as JSON text."""

    name: str
    arguments: str


class ChatCompletionToolCall(Struct):
    """A call that the model made."""

    id: str
    function: ChatCompletionFunction
    type: Literal["function"] = "function"


class ChoiceLogprobs(Struct):
    """Log probabilities of the content's tokens."""

    content: list[Logprob] | None
    refusal: None = None

    @classmethod
    def of(cls, tokens: list[protocol.TokenLogprob]) -> "ChoiceLogprobs":
        """Return the engine's figures in OpenAI's shape."""
        return cls([Logprob.of(token) for token in tokens])


class ChatCompletionMessage(Struct):
    """What the model answered; its thinking goes by both names that clients know."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ChatCompletionToolCall] | UnsetType = UNSET


class ChatChoice(Struct):
    """One of the `n` answers."""

    index: int
    message: ChatCompletionMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletion(Struct):
    """A whole answer.

    Token ids, log probabilities of the prompt and metadata are there where the request asked for
    them. `store` is false where the answer was to be stored, and could not be.
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
    """A call's name, or more of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str = ""


class ChoiceDeltaToolCall(Struct):
    """A call that begins (with `id` and `type`) or goes on."""

    index: int
    function: ChoiceDeltaFunction
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChoiceDelta(Struct):
    """What is new in a choice."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ChoiceDeltaToolCall] | UnsetType = UNSET


class ChunkChoice(Struct):
    """What is new in one of the `n` answers."""

    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletionChunk(Struct):
    """One `data:` line of a stream; the last one, with no choices, carries `usage` if asked.

    The first one tells `prompt_token_ids` if asked. In the last ones `store` is false where the
    answer was to be stored, and could not be.
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


class ChunkEncoder:
    """Encodes the chunks of one request.

    All chunks of a request begin and end alike, and a stream is mostly text, so only the text is
    encoded anew for each token.
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

    def tell_not_stored(self) -> None:
        """Have the chunks from here on say that the answer could not be stored."""
        self._empty = msgspec.structs.replace(self._empty, store=False)

    def text(self, row: int, text: str) -> bytes:
        """Return the event of new content."""
        encoded = self._encoder.encode(text)
        return b'%b%d,"delta":{"content":%b%b' % (self._head, row, encoded, self._tail)

    def choice(
        self,
        choice: ChunkChoice,
        usage: protocol.Usage | None = None,
        prompt: list[int] | None = None,
    ) -> bytes:
        """Return the event of one choice's news, with the counts so far and the prompt's tokens."""
        chunk = msgspec.structs.replace(self._empty, choices=[choice])
        if usage is not None:
            chunk.usage = CompletionUsage.of(usage)
        if prompt is not None:
            chunk.prompt_token_ids = prompt
        return b"data: %b\n\n" % self._encoder.encode(chunk)

    def usage(self, usage: protocol.Usage) -> bytes:
        """Return the event that tells the token counts."""
        chunk = msgspec.structs.replace(self._empty, usage=CompletionUsage.of(usage))
        return b"data: %b\n\n" % self._encoder.encode(chunk)
