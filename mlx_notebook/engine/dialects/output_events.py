"""Events of an output reader: content, reasoning and tool calls in a model's text."""

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is a JSON object as text, with its keys in the model's order."""

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
    """A piece of the arguments of call `index`. All pieces joined are one JSON object."""

    index: int
    text: str


class CallEnd(msgspec.Struct, frozen=True):
    """Call `index` is complete. `call.raw` is its text in the model's dialect."""

    index: int
    call: ToolCall


class CallFailed(msgspec.Struct, frozen=True):
    """Text that began like a call but could not be parsed, for the trace.

    `raw` is the model's text, `reason` one sentence. `index` is set if a `CallStart` was sent.
    `truncated` says that the text ended too early. The same text follows as `Content`, unless a
    token limit cut the call off.
    """

    raw: str
    reason: str
    index: int | None = None
    truncated: bool = False


OutputEvent = Content | ReasoningContent | CallStart | CallArguments | CallEnd | CallFailed
