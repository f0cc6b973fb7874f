"""`v1/messages`: what goes out, whole and as events.

Formats: https://docs.anthropic.com/en/api/messages, .../messages-streaming and .../errors.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class TextBlock(Struct, tag_field="type", tag="text"):
    """Text of the answer."""

    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """The model's thinking; `signature` is to be sent back with it."""

    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A tool that the model wants called."""

    id: str
    name: str
    input: dict[str, Any]


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class MessageTokensDetails(Struct):
    """`thinking_tokens` of the output were thinking."""

    thinking_tokens: int


class MessageUsage(Struct, omit_defaults=True):
    """Token counts; those read from the cache come on top of `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    output_tokens_details: MessageTokensDetails | None = None

    @classmethod
    def of(cls, usage: protocol.Usage) -> "MessageUsage":
        """Return the engine's counts in Anthropic's shape."""
        return cls(
            usage.prompt - usage.cached,
            usage.completion,
            usage.cached,
            0,
            MessageTokensDetails(usage.reasoning),
        )


class MessageResponse(Struct, kw_only=True):
    """What the model answered."""

    id: str
    model: str
    content: list[ContentBlock]
    usage: MessageUsage
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    # Where the request asked for them.
    prompt_token_ids: list[int] | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptTokenLogprobs | UnsetType = UNSET


class MessageTokensCount(Struct):
    """How many tokens a conversation has."""

    input_tokens: int


class MessageStart(Struct, tag_field="type", tag="message_start"):
    """The answer begins."""

    message: MessageResponse


class ContentBlockStart(Struct, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: ContentBlock


class TextDelta(Struct, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Struct, tag_field="type", tag="thinking_delta"):
    """More thinking."""

    thinking: str


class SignatureDelta(Struct, tag_field="type", tag="signature_delta"):
    """The thinking's signature, at its end."""

    signature: str


class InputJsonDelta(Struct, tag_field="type", tag="input_json_delta"):
    """More of a call's input, as JSON text."""

    partial_json: str


class ContentBlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockStop(Struct, tag_field="type", tag="content_block_stop"):
    """A block is whole."""

    index: int


class StopDelta(Struct):
    """Why the answer ends."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class MessageDelta(Struct, tag_field="type", tag="message_delta"):
    """What is known at the answer's end."""

    delta: StopDelta
    usage: MessageUsage
    token_ids: list[int] | UnsetType = UNSET


class MessageStop(Struct, tag_field="type", tag="message_stop"):
    """The answer is whole."""


class Ping(Struct, tag_field="type", tag="ping"):
    """The request lives."""


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
    """The exact case; `unsupported` lists features that cannot be had together."""

    error_code: str
    unsupported: list[str] | None = None


class ErrorObject(Struct):
    """What went wrong."""

    type: str
    message: str
    details: ErrorDetails


class MessageError(Struct, tag_field="type", tag="error"):
    """The body of every answer that is not a success."""

    error: ErrorObject
    request_id: str


_ENCODER = msgspec.json.Encoder()


def encode_event(event: MessageEvent) -> bytes:
    """Return an event as it goes over the line."""
    tag = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(tag).encode(), _ENCODER.encode(event))
