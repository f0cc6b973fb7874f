"""Split the text of harmony models (gpt-oss), whose messages have a header with a channel."""

import re
from collections.abc import Sequence
from typing import Literal

from mlx_notebook.engine.dialects.call_reader import CallReader
from mlx_notebook.engine.dialects.dialect import StartMarker
from mlx_notebook.engine.dialects.families.harmony import Harmony
from mlx_notebook.engine.dialects.output_events import (
    CallFailed,
    Content,
    OutputEvent,
    ReasoningContent,
)
from mlx_notebook.engine.dialects.output_reader import Patterns, find_marks
from mlx_notebook.engine.functions.declared import DeclaredFunctions

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_BEGINNINGS = ("<|", "to=", "assistant", "commentary", "analysis", "final")
_TO_FUNCTION = re.compile(r"to=\S")

# A region begins with its header, in any of its forms.
_HEADER = StartMarker("", kept=True)

_State = Literal["header", "reasoning", "content", "call"]


class HarmonyReader:
    """Output reader for harmony. The analysis channel is reasoning, other channels are content.

    Text without a header is content. `in_reasoning` says that the prompt opened the analysis
    channel, `within` that it opened some message. `stop` and `hold` are as in `MarkerReader`.
    """

    def __init__(
        self,
        dialect: Harmony | None = None,
        tools: DeclaredFunctions | None = None,
        *,
        in_reasoning: bool = False,
        within: bool = False,
        stop: Sequence[str] = (),
        hold: bool = False,
    ) -> None:
        self._dialect = dialect
        self._tools = tools if tools is not None else DeclaredFunctions()
        self._hold = hold
        self._stop = frozenset(stop)
        self._state: _State = "reasoning" if in_reasoning else "content" if within else "header"
        self._reasoning_markers = find_marks(_ENDS)
        self._content_markers = find_marks((*_ENDS, *stop))
        self._call: CallReader | None = None
        self._index = 0
        self._pending = ""
        self.stopped: str | None = None

    @property
    def in_reasoning(self) -> bool:
        """Whether the last text belongs to the reasoning."""
        return self._state == "reasoning"

    def feed(self, text: str) -> list[OutputEvent]:
        """Read new text and return the events that it completes."""
        events: list[OutputEvent] = []
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

    def finish(self, *, cut: bool) -> list[OutputEvent]:
        """End the text and return the remaining events. `cut`: a token limit ended it."""
        events: list[OutputEvent] = []
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

    def _in_header(self, text: str, events: list[OutputEvent]) -> str:
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
            self._call = CallReader(self._dialect, self._tools, _HEADER, self._index, self._hold)
            return text
        self._state = "reasoning" if "<|channel|>analysis" in head else "content"
        return rest

    def _in_message(self, text: str, events: list[OutputEvent]) -> str:
        marks: Patterns | None = (
            self._reasoning_markers if self.in_reasoning else self._content_markers
        )
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
        if found.group() in self._stop and not self.in_reasoning:
            self.stopped = found.group()
        else:
            self._state = "header"
        return text[found.end() :]

    def _in_call(self, text: str, events: list[OutputEvent]) -> str:
        call = self._call
        assert call is not None
        events += call.feed(text)
        if not call.done:
            return ""
        self._call = None
        self._index = call.index
        self._state = "header"
        return call.rest

    def _send(self, text: str, events: list[OutputEvent]) -> None:
        if text:
            events.append(ReasoningContent(text) if self.in_reasoning else Content(text))
