"""Splits the text of harmony models (gpt-oss), where every message has a header with a channel."""

import re
from collections.abc import Sequence
from typing import Literal

from mlx_notebook.engine.dialects.families.harmony import Harmony
from mlx_notebook.engine.dialects.output_events import CallFailed, Content, Event, Thinking
from mlx_notebook.engine.dialects.output_reader import CallReader, Patterns, find_marks
from mlx_notebook.engine.functions.declared import Tools

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_BEGINNINGS = ("<|", "to=", "assistant", "commentary", "analysis", "final")
_TO_FUNCTION = re.compile(r"to=\S")

_State = Literal["header", "thinking", "content", "call"]


class HarmonyReader:
    """`Reader` for harmony: analysis is thinking, final and preambles are content.

    Text that follows no header, which the format does not allow, is content. `thinking` says
    that the prompt already opened the analysis channel, `within` that it already opened some
    message; `stop` and `hold` are as in `Reader`.
    """

    def __init__(
        self,
        dialect: Harmony | None = None,
        tools: Tools | None = None,
        *,
        thinking: bool = False,
        within: bool = False,
        stop: Sequence[str] = (),
        hold: bool = False,
    ) -> None:
        self._dialect = dialect
        self._tools = tools if tools is not None else Tools()
        self._hold = hold
        self._stop = frozenset(stop)
        self._state: _State = "thinking" if thinking else "content" if within else "header"
        self._thinking_marks = find_marks(_ENDS)
        self._content_marks = find_marks((*_ENDS, *stop))
        self._call: CallReader | None = None
        self._index = 0
        self._pending = ""
        self.stopped: str | None = None

    @property
    def thinking(self) -> bool:
        """Whether the text read last belongs to the thinking."""
        return self._state == "thinking"

    def feed(self, text: str) -> list[Event]:
        """Take new text and return what it completes."""
        events: list[Event] = []
        text = self._pending + text
        self._pending = ""
        while text and self.stopped is None:
            if self._state == "call":
                text = self._in_call(text, events)
            elif self._state == "header":
                text = self._in_header(text, events)
            else:
                text = self._in_message(text, events)
        return events

    def finish(self, *, cut: bool) -> list[Event]:
        """The text has ended, `cut` if for want of tokens: return all that was held back."""
        events: list[Event] = []
        if self.stopped is not None:
            return events
        if self._call is not None:
            events += self._call.finish(cut)
            self._call = None
        pending, self._pending = self._pending, ""
        if self._state != "header":
            self._send(pending, events)
        elif _TO_FUNCTION.search(pending) and self._dialect is not None:
            reason = "The text ends in the header of a call."
            events.append(CallFailed(pending, reason, truncated=True))
            if not cut:
                events.append(Content(pending))
        elif pending and not (pending.lstrip().startswith("<|") or (cut and pending == "<")):
            events.append(Content(pending))
        return events

    def _in_header(self, text: str, events: list[Event]) -> str:
        body = text.lstrip()
        if not any(body.startswith(begin) or begin.startswith(body) for begin in _BEGINNINGS):
            self._state = "content"
            return text
        head, found, rest = text.partition(_MESSAGE)
        if not found:
            self._pending = text
            return ""
        if _TO_FUNCTION.search(head) and self._dialect is not None:
            self._state = "call"
            self._call = CallReader(self._dialect, self._tools, "", self._index, self._hold)
            return text
        self._state = "thinking" if "<|channel|>analysis" in head else "content"
        return rest

    def _in_message(self, text: str, events: list[Event]) -> str:
        marks: Patterns | None = self._thinking_marks if self.thinking else self._content_marks
        assert marks is not None
        found = marks.whole.search(text)
        if found is None:
            partial = marks.partial.search(text)
            if partial is not None:
                self._pending = partial.group()
                text = text[: partial.start()]
            self._send(text, events)
            return ""
        self._send(text[: found.start()], events)
        if found.group() in self._stop and not self.thinking:
            self.stopped = found.group()
        else:
            self._state = "header"
        return text[found.end() :]

    def _in_call(self, text: str, events: list[Event]) -> str:
        call = self._call
        assert call is not None
        events += call.feed(text)
        if not call.done:
            return ""
        self._call = None
        self._index = call.index
        self._state = "header"
        return call.rest

    def _send(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(Thinking(text) if self.thinking else Content(text))
