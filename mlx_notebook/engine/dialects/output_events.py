"""What a reader makes of a model's text: content, thinking, tool calls, as small typed events."""

import msgspec


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is a JSON object as text, keys in the model's order."""

    name: str
    arguments: str
    raw: str = ""


class Content(msgspec.Struct, frozen=True):
    """New text of the answer."""

    text: str


class Thinking(msgspec.Struct, frozen=True):
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
    call: Call


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


Event = Content | Thinking | CallStart | CallArguments | CallEnd | CallFailed
