"""Read one region of tool calls in a model's text, while it is generated."""

from mlx_notebook.engine.dialects.dialect import Dialect, StartMarker
from mlx_notebook.engine.dialects.output_events import (
    CallArguments,
    CallFailed,
    CallStart,
    Content,
    OutputEvent,
)
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.functions.parse_errors import ParseError, Truncated


class CallReader:
    """Reads one call region with a dialect's parser.

    The text of a region without a call is content, all of it. After an error the text up to it is
    content, and `rest` is to be read like any text: other calls may follow.

    Parameters
    ----------
    dialect, tools
        The model's dialect, and the functions that may be called.
    start
        The marker that opened the region. If it is kept, the region's text begins with it.
    index
        The number of the region's first call.
    hold
        Return the events of a call when it is complete, so that a broken call becomes content.
    sure
        Text that a token limit cuts off before it names a function is no content.
    """

    def __init__(
        self,
        dialect: Dialect,
        tools: DeclaredFunctions,
        start: StartMarker,
        index: int,
        hold: bool,
        *,
        sure: bool = True,
    ) -> None:
        self._sure = sure
        opening = "" if start.kept else start.text
        self._source = TextSource(tools, opening, index, strict=start.first, lenient=hold)
        self._parser: Parsing[None] = dialect.parse(self._source)
        self._close = dialect.layout.close
        self._at_least = len(start.text)
        self._hold = hold
        self._first = index
        self._silent = True  # whether nothing of the region has become an event
        self.done = False

    @property
    def rest(self) -> str:
        """The unread text. Once the region is done, the text after it."""
        return self._source.rest

    @property
    def index(self) -> int:
        """The number of the next call."""
        return self._source.index

    def feed(self, text: str) -> list[OutputEvent]:
        """Read new text and return the events that it completes."""
        self._source.feed(text)
        return self._run()

    def finish(self, cut: bool) -> list[OutputEvent]:
        """End the region, complete or not, because the text has ended."""
        self._source.closed = True
        return self._run(cut)

    def _run(self, cut: bool = False) -> list[OutputEvent]:
        source = self._source
        ending: list[OutputEvent] = []
        cut_off = False
        try:
            next(self._parser)
            # At the end of the text there is nothing to wait for.
            while source.closed:
                next(self._parser)
        except StopIteration:
            self.done = True
            ending = self._ending(cut)
        except ParseError as error:
            self.done = True
            named = source.started is not None
            cut_off = cut and isinstance(error, Truncated) and (named or self._sure)
            ending = self._failure(error, cut_off)
        made = self._release(partly=cut_off) + ending
        self._silent = self._silent and not made
        return made

    def _ending(self, cut: bool) -> list[OutputEvent]:
        """Return what is left of a region that is complete."""
        source = self._source
        if source.index > self._first:
            return [*source.take_apart()[1]]
        if source.closed and not source.rest.strip():
            source.pos = len(source.text)
        raw = source.raw
        if not raw.strip():
            return []
        # An undeclared function was refused, or the region holds no call at all.
        if not self._silent or source.events:
            return [Content(raw)]
        failed = CallFailed(raw, "The text after the mark holds no call.", truncated=source.closed)
        return [failed] if cut and self._sure else [failed, Content(raw)]

    def _failure(self, error: ParseError, cut_off: bool) -> list[OutputEvent]:
        source = self._source
        truncated = isinstance(error, Truncated)
        started = source.started is not None
        remains = (source.raw + source.rest).strip(" ,;\n")
        if truncated and source.index > self._first and remains in self._close:
            source.pos = len(source.text)
            return [*source.take_apart()[1]]  # only the end marker is missing, or a part of it
        if cut_off:
            source.pos = len(source.text)
        elif source.index == self._first:
            # The marker itself is read, or it would open the region again.
            source.pos = max(source.pos, source.pos + self._at_least - len(source.raw))
        raw = source.raw
        index = source.index if started and not source.refused else None
        if index is not None:
            source.index += 1
        reason = source.refused or str(error)
        if cut_off:
            return [CallFailed(raw, reason, index, truncated=True)]
        if self._hold and index is not None:
            source.index -= 1
            index = None
        return [CallFailed(raw, reason, index, truncated=truncated), Content(raw)]

    def _release(self, partly: bool) -> list[OutputEvent]:
        """Return the events that are ready: with `hold`, all but those of an unfinished call."""
        events = self._source.events
        if not self._hold or partly:
            self._source.events = []
            return events
        cut = len(events)
        while cut and isinstance(events[cut - 1], CallStart | CallArguments):
            cut -= 1
        out, self._source.events = events[:cut], events[cut:]
        return out
