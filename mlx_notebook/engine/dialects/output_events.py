"""What a reader makes of a model's text: content, reasoning, tool calls, as small typed events."""

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is a JSON object as text, keys in the model's order."""

    name: str
    arguments: str
    raw: str = ""


class Content(msgspec.Struct, frozen=True):
    """New text of the answer."""

    text: str


class ReasoningContent(msgspec.Struct, frozen=True):
    """New text of the model's reasoning."""

    text: str


class CallStart(msgspec.Struct, frozen=True):
    """The `index`-th call of the answer begins."""

    index: int
    name: str


class CallArguments(msgspec.Struct, frozen=True):
    """More of the arguments of call `index`; all of them concatenated are one JSON object."""

    index: int
    text: str


class CallEnd(msgspec.Struct, frozen=True):
    """Call `index` is complete; `call.raw` is the model's own text of it."""

    index: int
    call: ToolCall


class CallFailed(msgspec.Struct, frozen=True):
    """Text that opened a call and is none; for the trace.

    `raw` is the model's text and `reason` one sentence. `index` is set when `CallStart` had been
    sent for it. `truncated` says that the text merely ended too early. The same text follows as
    `Content`, except where a call was cut off.
    """

    raw: str
    reason: str
    index: int | None = None
    truncated: bool = False


OutputEvent = Content | ReasoningContent | CallStart | CallArguments | CallEnd | CallFailed
