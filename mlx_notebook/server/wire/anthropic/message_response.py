"""The responses of `v1/messages`, complete and as events.

Formats: https://docs.anthropic.com/en/api/messages, .../messages-streaming and .../errors.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol
from mlx_notebook.server.wire.anthropic.context_edits import AppliedEdits, CountedEdits
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",
    "model_context_window_exceeded",
]


class TextBlock(Struct, tag_field="type", tag="text"):
    """A text block of the answer."""

    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """The reasoning. Clients send `signature` back with it."""

    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A tool call of the model."""

    id: str
    name: str
    input: dict[str, Any]


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class MessageTokensDetails(Struct):
    """`thinking_tokens` of the output were reasoning."""

    thinking_tokens: int


class MessageUsage(Struct, omit_defaults=True):
    """Token counts. The three counts of the prompt add up to its length.

    Attributes
    ----------
    input_tokens
        Tokens that were computed and do not count as `cache_creation_input_tokens`.
    output_tokens
        Tokens of the answer.
    cache_read_input_tokens
        Tokens from the prefix cache.
    cache_creation_input_tokens
        Tokens that were computed for a prompt whose request has a `cache_control`.
    """

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    output_tokens_details: MessageTokensDetails | None = None

    @classmethod
    def of(cls, usage: protocol.Usage, *, has_cache_marks: bool = False) -> "MessageUsage":
        """Return the engine's counts in Anthropic's shape."""
        counts = cls(0, usage.completion, 0, 0, MessageTokensDetails(usage.reasoning))
        counts.count_prompt(usage.prompt, usage.cached, has_cache_marks=has_cache_marks)
        return counts

    def count_prompt(self, total: int, cached: int, *, has_cache_marks: bool) -> None:
        """Set the counts of the prompt."""
        computed = total - cached
        self.input_tokens = 0 if has_cache_marks else computed
        self.cache_read_input_tokens = cached
        self.cache_creation_input_tokens = computed if has_cache_marks else 0


class MessageResponse(Struct, kw_only=True):
    """The answer."""

    id: str
    model: str
    content: list[ContentBlock]
    usage: MessageUsage
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    # Present if the request asks for edits.
    context_management: AppliedEdits | UnsetType = UNSET
    # Present if the request asks for them.
    prompt_token_ids: list[int] | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptTokenLogprobs | UnsetType = UNSET


class MessageTokensCount(Struct):
    """The number of tokens in a conversation, after its edits."""

    input_tokens: int
    context_management: CountedEdits | UnsetType = UNSET


class MessageStart(Struct, tag_field="type", tag="message_start"):
    """The answer started."""

    message: MessageResponse


class ContentBlockStart(Struct, tag_field="type", tag="content_block_start"):
    """A block started."""

    index: int
    content_block: ContentBlock


class TextDelta(Struct, tag_field="type", tag="text_delta"):
    """New text."""

    text: str


class ThinkingDelta(Struct, tag_field="type", tag="thinking_delta"):
    """New reasoning."""

    thinking: str


class SignatureDelta(Struct, tag_field="type", tag="signature_delta"):
    """The signature of the reasoning, at its end."""

    signature: str


class InputJsonDelta(Struct, tag_field="type", tag="input_json_delta"):
    """The next part of a call's input, as JSON text."""

    partial_json: str


class ContentBlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    """New content of a block."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockStop(Struct, tag_field="type", tag="content_block_stop"):
    """A block is complete."""

    index: int


class StopDelta(Struct):
    """Why the answer ended."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class MessageDelta(Struct, tag_field="type", tag="message_delta"):
    """The stop reason and the token counts, at the end of the answer."""

    delta: StopDelta
    usage: MessageUsage
    context_management: AppliedEdits | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET


class MessageStop(Struct, tag_field="type", tag="message_stop"):
    """The answer is complete."""


class Ping(Struct, tag_field="type", tag="ping"):
    """Keeps the connection open."""


MessageEvent = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
)


class ErrorDetails(Struct, omit_defaults=True):
    """The error code. `unsupported` lists features that cannot be combined."""

    error_code: str
    unsupported: list[str] | None = None


class ErrorObject(Struct):
    """What failed, and why."""

    type: str
    message: str
    details: ErrorDetails


class MessageError(Struct, tag_field="type", tag="error"):
    """The body of every error response."""

    error: ErrorObject
    request_id: str


_ENCODER = msgspec.json.Encoder()


def encode_event(event: MessageEvent) -> bytes:
    """Return an event as a server-sent event."""
    tag = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(tag).encode(), _ENCODER.encode(event))
