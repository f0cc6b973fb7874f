"""Read the output of a model that fills a gap, and end it where the gap's text ends."""

from collections.abc import Sequence
from typing import Protocol

from mlx_notebook.engine.dialects.output_events import Content, OutputEvent
from mlx_notebook.engine.dialects.output_reader import OutputReader


class GapFilter(Protocol):
    """Passes on the part of a text that belongs to the gap. `ended`: the rest does not."""

    ended: bool

    def feed(self, text: str) -> str:
        """Read new text; return what is certain to belong to the gap."""
        ...

    def finish(self) -> str:
        """End the text; return the rest that belongs to the gap."""
        ...


class GapReader:
    """An output reader that passes the content of another one through filters.

    Attributes
    ----------
    stopped
        The stop string that ended the text; empty if a filter ended it.
    """

    def __init__(self, inner: OutputReader, filters: Sequence[GapFilter]) -> None:
        self._inner, self._filters = inner, filters
        self.stopped: str | None = None

    @property
    def in_reasoning(self) -> bool:
        """Whether the last text belongs to the reasoning."""
        return self._inner.in_reasoning

    def feed(self, text: str) -> list[OutputEvent]:
        """Read new text and return the events that it completes."""
        return [] if self.stopped is not None else self._passed(self._inner.feed(text))

    def finish(self, *, cut: bool) -> list[OutputEvent]:
        """End the text and return the remaining events. `cut`: a token limit ended it."""
        if self.stopped == "":
            return []
        return [*self._passed(self._inner.finish(cut=cut)), *self._rest()]

    def _passed(self, events: list[OutputEvent]) -> list[OutputEvent]:
        passed: list[OutputEvent] = []
        for event in events:
            if self.stopped is not None:
                break
            if not isinstance(event, Content):
                passed.append(event)
                continue
            text = event.text
            for gap_filter in self._filters:
                text = gap_filter.feed(text)
            if text:
                passed.append(Content(text))
            if any(gap_filter.ended for gap_filter in self._filters):
                self.stopped = ""
                passed += self._rest()
        if self.stopped is None:
            self.stopped = self._inner.stopped
        return passed

    def _rest(self) -> list[OutputEvent]:
        """Return the text that the filters hold back and that belongs to the gap."""
        rest = ""
        for gap_filter in self._filters:
            rest = gap_filter.feed(rest) + gap_filter.finish()
        return [Content(rest)] if rest else []
