"""The events of a streamed response, numbered in the order they are sent.

Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.openai.response_object import (
    Logprob,
    OutputItem,
    OutputText,
    ReasoningText,
    Response,
    SummaryText,
)


class Event(Struct, kw_only=True):
    """What all events have."""

    sequence_number: int = 0


class Lifecycle(Event, kw_only=True):
    """The response as a whole, as it stands now."""

    response: Response


class Created(Lifecycle, tag_field="type", tag="response.created"):
    """The request was taken."""


class Queued(Lifecycle, tag_field="type", tag="response.queued"):
    """A background response waits."""


class InProgress(Lifecycle, tag_field="type", tag="response.in_progress"):
    """The model is at work."""


class Completed(Lifecycle, tag_field="type", tag="response.completed"):
    """The answer is whole."""


class Incomplete(Lifecycle, tag_field="type", tag="response.incomplete"):
    """The answer ends before its end."""


class Failed(Lifecycle, tag_field="type", tag="response.failed"):
    """There will be no (whole) answer."""


class ItemEvent(Event, kw_only=True):
    """Something about the item at `output_index`."""

    output_index: int


class ItemAdded(ItemEvent, tag_field="type", tag="response.output_item.added"):
    """An item begins."""

    item: OutputItem


class ItemDone(ItemEvent, tag_field="type", tag="response.output_item.done"):
    """An item is whole."""

    item: OutputItem


class PartEvent(ItemEvent, kw_only=True):
    """Something about a part of an item."""

    item_id: str
    content_index: int = 0


class PartAdded(PartEvent, tag_field="type", tag="response.content_part.added"):
    """A part begins."""

    part: OutputText | ReasoningText


class PartDone(PartEvent, tag_field="type", tag="response.content_part.done"):
    """A part is whole."""

    part: OutputText | ReasoningText


class TextDelta(PartEvent, tag_field="type", tag="response.output_text.delta"):
    """More of the answer's text."""

    delta: str
    logprobs: list[Logprob]


class TextDone(PartEvent, tag_field="type", tag="response.output_text.done"):
    """All of the answer's text."""

    text: str
    logprobs: list[Logprob]


class ReasoningDelta(PartEvent, tag_field="type", tag="response.reasoning_text.delta"):
    """More of the thinking."""

    delta: str


class ReasoningDone(PartEvent, tag_field="type", tag="response.reasoning_text.done"):
    """All of the thinking."""

    text: str


class SummaryEvent(ItemEvent, kw_only=True):
    """Something about the thinking's summary."""

    item_id: str
    summary_index: int = 0


class SummaryPartAdded(SummaryEvent, tag_field="type", tag="response.reasoning_summary_part.added"):
    """The summary begins."""

    part: SummaryText


class SummaryDelta(SummaryEvent, tag_field="type", tag="response.reasoning_summary_text.delta"):
    """More of the summary."""

    delta: str


class SummaryDone(SummaryEvent, tag_field="type", tag="response.reasoning_summary_text.done"):
    """All of the summary."""

    text: str


class SummaryPartDone(SummaryEvent, tag_field="type", tag="response.reasoning_summary_part.done"):
    """The summary is whole."""

    part: SummaryText


class ArgumentsDelta(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.delta", kw_only=True
):
    """More of a call's arguments."""

    item_id: str
    delta: str


class ArgumentsDone(
    ItemEvent, tag_field="type", tag="response.function_call_arguments.done", kw_only=True
):
    """All of a call's arguments."""

    item_id: str
    name: str
    arguments: str


class Error(Event, tag_field="type", tag="error", kw_only=True):
    """The response was stopped."""

    code: str | None
    message: str
    param: str | None = None


StreamEvent = (
    Created
    | Queued
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | SummaryPartAdded
    | SummaryDelta
    | SummaryDone
    | SummaryPartDone
    | ArgumentsDelta
    | ArgumentsDone
    | Error
)

_ENCODER = msgspec.json.Encoder()


def encoded(event: Event) -> bytes:
    """Return an event as it goes over the line."""
    tag = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(tag).encode(), _ENCODER.encode(event))
