"""The events of a streamed response, numbered in the order they are sent.

Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.openai.response_object import (
    OutputItem,
    OutputText,
    ReasoningText,
    Response,
    SummaryText,
)


class ResponseEvent(Struct, kw_only=True):
    """What all events have."""

    sequence_number: int = 0


class LifecycleEvent(ResponseEvent, kw_only=True):
    """The response as a whole, as it stands now."""

    response: Response


class ResponseCreated(LifecycleEvent, tag_field="type", tag="response.created"):
    """The request was taken."""


class ResponseQueued(LifecycleEvent, tag_field="type", tag="response.queued"):
    """A background response waits."""


class ResponseInProgress(LifecycleEvent, tag_field="type", tag="response.in_progress"):
    """The model is at work."""


class ResponseCompleted(LifecycleEvent, tag_field="type", tag="response.completed"):
    """The answer is whole."""


class ResponseIncomplete(LifecycleEvent, tag_field="type", tag="response.incomplete"):
    """The answer ends before its end."""


class ResponseFailed(LifecycleEvent, tag_field="type", tag="response.failed"):
    """There will be no (whole) answer."""


class ItemEvent(ResponseEvent, kw_only=True):
    """Something about the item at `output_index`."""

    output_index: int


class OutputItemAdded(ItemEvent, tag_field="type", tag="response.output_item.added"):
    """An item begins."""

    item: OutputItem


class OutputItemDone(ItemEvent, tag_field="type", tag="response.output_item.done"):
    """An item is whole."""

    item: OutputItem


class ContentPartEvent(ItemEvent, kw_only=True):
    """Something about a part of an item."""

    item_id: str
    content_index: int = 0


class ContentPartAdded(ContentPartEvent, tag_field="type", tag="response.content_part.added"):
    """A part begins."""

    part: OutputText | ReasoningText


class ContentPartDone(ContentPartEvent, tag_field="type", tag="response.content_part.done"):
    """A part is whole."""

    part: OutputText | ReasoningText


class OutputTextDelta(ContentPartEvent, tag_field="type", tag="response.output_text.delta"):
    """More of the answer's text."""

    delta: str
    logprobs: list[Logprob]


class OutputTextDone(ContentPartEvent, tag_field="type", tag="response.output_text.done"):
    """All of the answer's text."""

    text: str
    logprobs: list[Logprob]


class ReasoningTextDelta(ContentPartEvent, tag_field="type", tag="response.reasoning_text.delta"):
    """More of the thinking."""

    delta: str


class ReasoningTextDone(ContentPartEvent, tag_field="type", tag="response.reasoning_text.done"):
    """All of the thinking."""

    text: str


class ReasoningSummaryEvent(ItemEvent, kw_only=True):
    """Something about the thinking's summary."""

    item_id: str
    summary_index: int = 0


class ReasoningSummaryPartAdded(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_part.added"
):
    """The summary begins."""

    part: SummaryText


class ReasoningSummaryTextDelta(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_text.delta"
):
    """More of the summary."""

    delta: str


class ReasoningSummaryTextDone(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_text.done"
):
    """All of the summary."""

    text: str


class ReasoningSummaryPartDone(
    ReasoningSummaryEvent, tag_field="type", tag="response.reasoning_summary_part.done"
):
    """The summary is whole."""

    part: SummaryText


class FunctionCallArgumentsDelta(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.delta", kw_only=True
):
    """More of a call's arguments."""

    item_id: str
    delta: str


class FunctionCallArgumentsDone(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.done", kw_only=True
):
    """All of a call's arguments."""

    item_id: str
    name: str
    arguments: str


class ErrorEvent(ResponseEvent, tag_field="type", tag="error", kw_only=True):
    """The response was stopped."""

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
    | ErrorEvent
)

_ENCODER = msgspec.json.Encoder()


def encode_event(event: ResponseEvent) -> bytes:
    """Return an event as it goes over the line."""
    tag = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(tag).encode(), _ENCODER.encode(event))
