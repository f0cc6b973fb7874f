"""The events of a streamed response.

Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.responses.response_object import (
    OutputItem,
    OutputText,
    ReasoningText,
    Response,
    SummaryText,
)


class ResponseEvent(Struct, kw_only=True):
    """Base class of the events, which are numbered in the order they are sent."""

    sequence_number: int = 0


class LifecycleEvent(ResponseEvent, kw_only=True):
    """Base class of the events that carry the whole response in its current state."""

    response: Response


class ResponseCreated(LifecycleEvent, tag_field="type", tag="response.created"):
    """The request was accepted."""


class ResponseQueued(LifecycleEvent, tag_field="type", tag="response.queued"):
    """A background response is waiting."""


class ResponseInProgress(LifecycleEvent, tag_field="type", tag="response.in_progress"):
    """The engine is working on the response."""


class ResponseCompleted(LifecycleEvent, tag_field="type", tag="response.completed"):
    """The response is complete."""


class ResponseIncomplete(LifecycleEvent, tag_field="type", tag="response.incomplete"):
    """The response was cut off at a token limit."""


class ResponseFailed(LifecycleEvent, tag_field="type", tag="response.failed"):
    """The response failed."""


class ItemEvent(ResponseEvent, kw_only=True):
    """Base class of the events about the item at `output_index`."""

    output_index: int


class OutputItemAdded(ItemEvent, tag_field="type", tag="response.output_item.added"):
    """An item started."""

    item: OutputItem


class OutputItemDone(ItemEvent, tag_field="type", tag="response.output_item.done"):
    """An item is complete."""

    item: OutputItem


class ContentPartEvent(ItemEvent, kw_only=True):
    """Base class of the events about a part of an item."""

    item_id: str
    content_index: int = 0


class ContentPartAdded(ContentPartEvent, tag_field="type", tag="response.content_part.added"):
    """A part started."""

    part: OutputText | ReasoningText


class ContentPartDone(ContentPartEvent, tag_field="type", tag="response.content_part.done"):
    """A part is complete."""

    part: OutputText | ReasoningText


class OutputTextDelta(ContentPartEvent, tag_field="type", tag="response.output_text.delta"):
    """New text of the answer."""

    delta: str
    logprobs: list[Logprob]


class OutputTextDone(ContentPartEvent, tag_field="type", tag="response.output_text.done"):
    """The complete text of the answer."""

    text: str
    logprobs: list[Logprob]


class ReasoningTextDelta(ContentPartEvent, tag_field="type", tag="response.reasoning_text.delta"):
    """New text of the reasoning."""

    delta: str


class ReasoningTextDone(ContentPartEvent, tag_field="type", tag="response.reasoning_text.done"):
    """The complete reasoning."""

    text: str


class ReasoningSummaryEvent(ItemEvent, kw_only=True):
    """Base class of the events about the summary of the reasoning."""

    item_id: str
    summary_index: int = 0


class ReasoningSummaryPartAdded(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_part.added"
):
    """The summary started."""

    part: SummaryText


class ReasoningSummaryTextDelta(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_text.delta"
):
    """New text of the summary."""

    delta: str


class ReasoningSummaryTextDone(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_text.done"
):
    """The complete text of the summary."""

    text: str


class ReasoningSummaryPartDone(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_part.done"
):
    """The summary is complete."""

    part: SummaryText


class FunctionCallArgumentsDelta(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.delta", kw_only=True
):
    """The next part of a call's arguments."""

    item_id: str
    delta: str


class FunctionCallArgumentsDone(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.done", kw_only=True
):
    """The complete arguments of a call."""

    item_id: str
    name: str
    arguments: str


class McpEvent(ItemEvent, kw_only=True):
    """Base class of the events about an item of an MCP server."""

    item_id: str


class McpListToolsInProgress(McpEvent, tag_field="type", tag="response.mcp_list_tools.in_progress"):
    """A server is asked for its tools."""


class McpListToolsCompleted(McpEvent, tag_field="type", tag="response.mcp_list_tools.completed"):
    """A server has listed its tools."""


class McpListToolsFailed(McpEvent, tag_field="type", tag="response.mcp_list_tools.failed"):
    """A server has not listed its tools."""


class McpCallInProgress(McpEvent, tag_field="type", tag="response.mcp_call.in_progress"):
    """A call of an MCP tool started."""


class McpCallCompleted(McpEvent, tag_field="type", tag="response.mcp_call.completed"):
    """A call of an MCP tool gave its result."""


class McpCallFailed(McpEvent, tag_field="type", tag="response.mcp_call.failed"):
    """A call of an MCP tool failed."""


class McpCallArgumentsDelta(
    McpEvent, tag_field="type", tag="response.mcp_call_arguments.delta", kw_only=True
):
    """The next part of a call's arguments."""

    delta: str


class McpCallArgumentsDone(
    McpEvent, tag_field="type", tag="response.mcp_call_arguments.done", kw_only=True
):
    """The complete arguments of a call."""

    arguments: str


class ErrorEvent(ResponseEvent, tag_field="type", tag="error", kw_only=True):
    """The request was cancelled."""

    code: str | None
    message: str
    param: str | None = None


ResponseStreamEvent = (
    ResponseCreated
    | ResponseQueued
    | ResponseInProgress
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDelta
    | OutputTextDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | ReasoningSummaryPartAdded
    | ReasoningSummaryTextDelta
    | ReasoningSummaryTextDone
    | ReasoningSummaryPartDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | McpCallInProgress
    | McpCallCompleted
    | McpCallFailed
    | McpCallArgumentsDelta
    | McpCallArgumentsDone
    | ErrorEvent
)

_ENCODER = msgspec.json.Encoder()


def encode_event(event: ResponseEvent) -> bytes:
    """Return an event as a server-sent event."""
    tag = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(tag).encode(), _ENCODER.encode(event))
