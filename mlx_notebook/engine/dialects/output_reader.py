"""Split a model's text, while it is generated, into content, reasoning and tool calls."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from mlx_notebook.engine.dialects.call_reader import CallReader
from mlx_notebook.engine.dialects.dialect import Dialect, StartMarker
from mlx_notebook.engine.dialects.fences import (
    FENCE,
    follow_block,
    hold_fence,
    is_closing,
    is_closing_begun,
    split_opening,
)
from mlx_notebook.engine.dialects.output_events import (
    CallFailed,
    Content,
    OutputEvent,
    ReasoningContent,
)
from mlx_notebook.engine.dialects.reasoning import ReasoningMarks
from mlx_notebook.engine.functions.declared import DeclaredFunctions


class OutputReader(Protocol):
    """Reads the text of one row piece by piece.

    `stopped` is the stop string that ended the text, if one did.
    """

    stopped: str | None

    @property
    def in_reasoning(self) -> bool:
        """Whether the last text belongs to the reasoning."""
        ...

    def feed(self, text: str) -> list[OutputEvent]:
        """Read new text and return the events that it completes."""
        ...

    def finish(self, *, cut: bool) -> list[OutputEvent]:
        """End the text and return the remaining events. `cut`: a token limit ended it."""
        ...


class Patterns(NamedTuple):
    """Patterns that find a marker, and the beginning of one at the end of a text."""

    whole: re.Pattern[str]
    partial: re.Pattern[str]


@lru_cache(maxsize=256)
def find_marks(marks: tuple[str, ...]) -> Patterns | None:
    """Return the patterns for `marks`; None if there are no marks."""
    if not marks:
        return None
    beginnings = {mark[:length] for mark in marks for length in range(1, len(mark))}

    def one_of(texts: Iterable[str]) -> str:
        return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))

    partial = rf"(?:{one_of(beginnings)})\Z" if beginnings else "(?!)"
    return Patterns(re.compile(one_of(marks)), re.compile(partial))


class MarkerReader:
    """Splits text at reasoning marks, call markers and stop strings.

    Parameters
    ----------
    dialect
        The model's dialect. None if the request declares no tools.
    tools
        The declared functions.
    reasoning
        The model's reasoning marks, if it has any.
    in_reasoning
        Whether the prompt ends inside the reasoning.
    stop
        Stop strings. They end the answer and are not part of it. Only content is searched.
    hold
        Return the events of a call when it is complete. Needed if no grammar constrains the calls:
        a call may be broken, and events cannot be taken back.
    call_required
        The answer must be a call, so a marker that is cut off is no content.

    White space next to a mark is dropped, and so is a code fence around calls. A call marker inside
    the reasoning ends it, because models forget to end it.
    """

    def __init__(
        self,
        dialect: Dialect | None = None,
        tools: DeclaredFunctions | None = None,
        reasoning: ReasoningMarks | None = None,
        *,
        in_reasoning: bool = False,
        stop: Sequence[str] = (),
        hold: bool = False,
        call_required: bool = False,
    ) -> None:
        self._call_required = call_required
        self._dialect = dialect
        self._tools = tools if tools is not None else DeclaredFunctions()
        self._reasoning = reasoning
        self._hold = hold
        self._stop = frozenset(stop)
        self.in_reasoning = in_reasoning and reasoning is not None
        self.stopped: str | None = None
        self._call: CallReader | None = None
        self._index = 0
        self._pending = ""  # text that may be the beginning of a marker
        self._space = ""  # white space that may precede a marker, and a fence that may open a block
        self._begins_line = True  # whether the next text does
        self._block = 0  # how many backticks close the code block that is open
        self._fence: str | None = None  # the fence before the last call, while it is open
        self._trim = self.in_reasoning  # whether the next white space follows a marker
        self._sent = False  # whether content has been sent
        self._first = True  # whether only white space and reasoning came so far
        self._marked = dialect is not None or reasoning is not None
        starts = dialect.starts if dialect is not None else ()
        self._anywhere = {start.text: start for start in starts if not start.first}
        self._only_first = tuple(start for start in starts if start.first)
        begin, end = (reasoning.start, reasoning.end) if reasoning is not None else ("", "")
        calls = tuple(self._anywhere)
        self._content_markers = find_marks(tuple(filter(None, (begin, *calls, *stop))))
        self._reasoning_markers = find_marks(tuple(filter(None, (end, *calls))))

    def feed(self, text: str) -> list[OutputEvent]:
        """Read new text and return the events that it completes."""
        if not self._marked and self._content_markers is None:
            return [Content(text)] if text else []
        events: list[OutputEvent] = []
        if self.stopped is None:
            self._take(text, events)
        return events

    def finish(self, *, cut: bool) -> list[OutputEvent]:
        """End the text and return the remaining events. `cut`: a token limit ended it."""
        events: list[OutputEvent] = []
        if self.stopped is not None:
            return events
        # The rest of a broken call may hold another one, and that one too.
        while self._call is not None:
            call, self._call = self._call, None
            self._end_call(call, call.finish(cut), events)
            self._take(call.rest, events)
            if self.stopped is not None:
                return events
        pending, self._pending = self._pending, ""
        if pending and cut and self._call_required and not self.in_reasoning:
            reason = "The text ends in the mark of a call."
            events.append(CallFailed(pending, reason, truncated=True))
        else:
            self._send(pending, events)
        self._send_held(events)
        return events

    def _take(self, text: str, events: list[OutputEvent]) -> None:
        while True:
            if self._call is not None:
                text = self._in_call(text, events)
                if self._call is not None:
                    return
            text = self._pending + text
            self._pending = ""
            if not text:
                return
            if self._first and self._only_first and not self.in_reasoning:
                opened = self._opens_first(text)
                if opened is None:
                    self._pending = text
                    return
                if opened:
                    opening = split_opening(text.lstrip())
                    assert opening is not None
                    self._space, text = opening
                    continue
            patterns = self._reasoning_markers if self.in_reasoning else self._content_markers
            found = patterns and patterns.whole.search(text)
            if not found:
                self._send(self._keep_partial(text, patterns), events)
                return
            self._send(text[: found.start()], events)
            text = text[found.end() :]
            self._pass(found.group(), events)
            if self.stopped is not None:
                return

    def _keep_partial(self, text: str, patterns: "Patterns | None") -> str:
        """Hold back the beginning of a marker at the end of `text`; return the text before it."""
        partial = patterns and patterns.partial.search(text)
        if not partial:
            return text
        self._pending = partial.group()
        return text[: partial.start()]

    def _pass(self, mark: str, events: list[OutputEvent]) -> None:
        """Handle a marker: stop, begin or end the reasoning, or open a call region."""
        if mark in self._stop and not self.in_reasoning:
            self.stopped = mark
            self._send_held(events)
            return
        if self._reasoning is not None and mark in (self._reasoning.start, self._reasoning.end):
            self._space = self._space.rstrip()
            self._send_held(events)
            self._trim = self._begins_line = True
            self._block = 0
            self.in_reasoning = mark != self._reasoning.end
            return
        # A fence that closes a block, or less than a fence, is no part of the call.
        if "`" in self._space and (self._block or FENCE not in self._space):
            self._space = self._space.rstrip()
            self._send_held(events)
        if self.in_reasoning:
            self._space = self._space.lstrip()
            self._trim = True
            self._block = 0
        self.in_reasoning = False
        start = self._anywhere[mark]
        self._open(start)
        self._pending = start.text if start.kept else ""

    def _opens_first(self, text: str) -> bool | None:
        """Return whether `text` starts with a call marker; None while undecided."""
        opening = split_opening(text.lstrip())
        body = opening[1] if opening is not None else ""
        if not body:
            return None
        for start in self._only_first:
            if body.startswith(start.text):
                self._open(start)
                return True
            if start.text.startswith(body):
                return None
        return False

    def _open(self, start: StartMarker) -> None:
        assert self._dialect is not None
        sure = self._call_required or not start.first
        self._call = CallReader(
            self._dialect, self._tools, start, self._index, self._hold, sure=sure
        )
        self._first = False

    def _in_call(self, text: str, events: list[OutputEvent]) -> str:
        """Feed the current call region and return the text after it, once it has ended."""
        call = self._call
        assert call is not None
        pending, self._pending = self._pending, ""
        made = call.feed(pending + text)
        if not call.done:
            self._pass_on(made, events)
            return ""
        self._call = None
        self._end_call(call, made, events)
        return call.rest

    def _end_call(
        self, call: CallReader, made: list[OutputEvent], events: list[OutputEvent]
    ) -> None:
        self._pass_on(made, events)
        is_fenced = self._dialect is not None and self._dialect.layout.close.strip() == FENCE
        if is_fenced and self._fence is None and call.index > self._index:
            self._fence = ""
        self._index = call.index

    def _pass_on(self, made: list[OutputEvent], events: list[OutputEvent]) -> None:
        """Emit the events of a call region. Content in it is text like any other."""
        for event in made:
            if isinstance(event, Content):
                self._send(event.text if self._sent else event.text.lstrip(), events)
                continue
            if not isinstance(event, CallFailed):
                if FENCE in self._space:
                    self._fence = self._space
                self._space = ""
                self._trim = self._begins_line = True
            events.append(event)

    def _send(self, text: str, events: list[OutputEvent]) -> None:
        """Emit text. What may precede a marker is held back at its end."""
        if not self._marked:
            if text:
                events.append(Content(text))
            return
        text = self._space + text
        if self._fence is not None and not self.in_reasoning:
            if is_closing_begun(text):
                self._space = text
                return
            text = self._leave_fence(text, self._fence)
            self._fence = None
        if self._dialect is None:
            kept = text.rstrip()
            self._space = text[len(kept) :]
        else:
            kept, self._space = hold_fence(text, begins_line=self._begins_line)
        if kept:
            self._emit(kept, events)

    def _leave_fence(self, text: str, opening: str) -> str:
        """Return `text`, which follows a call in a code block, without the fence that closes it.

        If the block goes on, `opening` is its first line. It is "" if the call had a block of its
        own: then only its closing fence may be doubled.
        """
        body = text.lstrip()
        is_next = opening != "" or text[: len(text) - len(body)].count("\n") < 2
        if is_closing(body) and is_next:
            return body.removeprefix(FENCE)
        return text if body.startswith(FENCE) or not opening else opening + body

    def _send_held(self, events: list[OutputEvent]) -> None:
        """Emit what was held back, because no call follows."""
        held, self._space = self._space, ""
        if self._fence is not None and is_closing_begun(held):
            self._fence = None
            return
        if "`" in held:
            self._emit(held, events)
        elif held and not self._trim and not self.in_reasoning:
            events.append(Content(held))

    def _emit(self, text: str, events: list[OutputEvent]) -> None:
        # White space after a call separates two texts. After a reasoning mark it is dropped.
        if self._trim and (self.in_reasoning or self._first or not self._sent):
            text = text.lstrip()
        self._block = follow_block(text, self._block, begins_line=self._begins_line)
        self._trim = self._begins_line = False
        if self.in_reasoning:
            events.append(ReasoningContent(text))
        else:
            self._first = False
            self._sent = True
            events.append(Content(text))


def read(
    text: str,
    dialect: Dialect | None,
    tools: DeclaredFunctions,
    reasoning: ReasoningMarks | None = None,
    in_reasoning: bool = False,
) -> list[OutputEvent]:
    """Read a whole text and return its events."""
    reader = MarkerReader(dialect, tools, reasoning, in_reasoning=in_reasoning, hold=True)
    return reader.feed(text) + reader.finish(cut=False)
