"""The answer of LM Studio's `POST api/v1/chat`, and the events of its stream.

Format: https://lmstudio.ai/docs/developer/rest/chat and .../streaming-events.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol
from mlx_notebook.server.errors import ApiError

_ERROR_TYPES = {
    "unknown_route": "not_implemented",
    "job_not_found": "job_not_found",
    "model_not_found": "model_not_found",
    "mcp_not_reached": "mcp_connection_error",
}


class LmStudioError(Struct, omit_defaults=True):
    """An error. `type` is LM Studio's, `code` the exact case."""

    type: str
    message: str
    code: str | None = None
    param: str | None = None

    @classmethod
    def of(cls, error: ApiError) -> "LmStudioError":
        """Return an error in LM Studio's shape."""
        kind = "invalid_request" if error.status_code < 500 else "internal_error"
        return cls(_ERROR_TYPES.get(error.code, kind), error.message, error.code, error.param)


class LmStudioErrorBody(Struct):
    """The body of an error response."""

    error: LmStudioError


class LmStudioProvider(Struct, omit_defaults=True):
    """Where a tool comes from."""

    type: Literal["plugin", "ephemeral_mcp"]
    plugin_id: str | None = None
    server_label: str | None = None


class LmStudioMessage(Struct, tag_field="type", tag="message"):
    """Text of the answer."""

    content: str


class LmStudioReasoning(Struct, tag_field="type", tag="reasoning"):
    """Reasoning before the answer."""

    content: str


class LmStudioToolCall(Struct, tag_field="type", tag="tool_call"):
    """A call of an MCP tool, which this server has made."""

    tool: str
    arguments: dict[str, object]
    output: str
    provider_info: LmStudioProvider


LmStudioItem = LmStudioMessage | LmStudioReasoning | LmStudioToolCall


class LmStudioChatStats(Struct):
    """Token counts and times.

    `model_load_time_seconds` is there if the model was loaded for this request.
    """

    input_tokens: int
    total_output_tokens: int
    reasoning_output_tokens: int
    tokens_per_second: float
    time_to_first_token_seconds: float
    model_load_time_seconds: float | UnsetType = UNSET

    @classmethod
    def of(cls, rounds: list[protocol.Done]) -> "LmStudioChatStats":
        """Return the counts and times of all generations of an answer together."""
        written = sum(done.usage.completion for done in rounds)
        loading = sum(done.timings.loading for done in rounds)
        return cls(
            sum(done.usage.prompt for done in rounds),
            written,
            sum(done.usage.reasoning for done in rounds),
            speed(written, sum(done.timings.decode for done in rounds)),
            round(rounds[0].timings.first_token, 4) if rounds else 0.0,
            round(loading, 4) or UNSET,
        )


class LmStudioAnswer(Struct):
    """A whole answer. `response_id` is there if it is stored."""

    model_instance_id: str
    output: list[LmStudioItem]
    stats: LmStudioChatStats
    response_id: str | UnsetType = UNSET


class LmStudioFailedCall(Struct):
    """The call that a `tool_call.failure` is about."""

    type: Literal["invalid_name", "invalid_arguments"]
    tool_name: str
    arguments: dict[str, object]
    provider_info: LmStudioProvider


class LmStudioEvent(Struct, kw_only=True):
    """An event of the stream. Each type has some of these fields."""

    type: str
    model_instance_id: str | UnsetType = UNSET
    progress: float | UnsetType = UNSET
    load_time_seconds: float | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool: str | UnsetType = UNSET
    arguments: dict[str, object] | UnsetType = UNSET
    output: str | UnsetType = UNSET
    provider_info: LmStudioProvider | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    metadata: LmStudioFailedCall | UnsetType = UNSET
    error: LmStudioError | UnsetType = UNSET
    result: LmStudioAnswer | UnsetType = UNSET

    def encoded(self) -> bytes:
        """Return it as a server-sent event."""
        return b"event: %b\ndata: %b\n\n" % (self.type.encode(), _ENCODER.encode(self))


def speed(tokens: int, seconds: float) -> float:
    """Return tokens a second; 0 if no time was measured."""
    return round(tokens / seconds, 4) if seconds > 0 else 0.0


_ENCODER = msgspec.json.Encoder()
