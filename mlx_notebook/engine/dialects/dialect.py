"""The base class of tool-call dialects: markers, parser, writer and grammar of calls."""

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from mlx_notebook.engine.dialects.fences import FENCE
from mlx_notebook.engine.dialects.output_events import ToolCall
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules


class Layout(msgspec.Struct, frozen=True):
    """How calls are arranged in the text, as chat templates write them.

    `open`, a call and `close` make a region. With `nested`, a region holds several calls with
    `join` between them. Otherwise each call has its own region, with `join` between regions. With
    `single`, the answer ends after its first call.
    """

    open: str
    close: str
    join: str = "\n"
    nested: bool = False
    single: bool = False


class StartMarker(msgspec.Struct, frozen=True):
    """A text that opens a call region.

    With `first`, only at the beginning of the answer, after white space. With `kept`, the text is
    part of the region's syntax and passed to the parser.
    """

    text: str
    first: bool = False
    kept: bool = False


class Dialect(ABC):
    """One format of tool calls. Stateless, one object per dialect."""

    name: ClassVar[str]
    layout: ClassVar[Layout]
    starts: ClassVar[tuple[StartMarker, ...]]

    @abstractmethod
    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one region: the text after a start marker, including the end marker."""

    def parse(self, source: TextSource) -> Parsing[None]:
        """Parse one region whose marks may be doubled, as models sometimes write them."""
        opened = [start.text for start in self.starts if not start.first and not start.kept]
        yield from source.skip(*opened, partly=False)
        first = source.index
        yield from self.region(source)
        close = self.layout.close.strip().removeprefix("]")
        # What follows a code block is the reader's: it may be another block.
        if close and close != FENCE and source.index > first:
            yield from source.skip(close)

    @abstractmethod
    def write_call(self, name: str, arguments: str) -> str:
        """Write one call in this dialect, without the region's markers.

        `arguments` is a JSON object as text.
        """

    @abstractmethod
    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return a Lark expression for all valid calls of `function`, in the form of `write_call`.

        Raises
        ------
        NotEnforceable
            If this dialect, or a strict schema in it, cannot be enforced.
        """

    def write(self, calls: list[ToolCall]) -> str:
        """Write calls as a model of this dialect does."""
        if not calls:
            return ""
        layout = self.layout
        bodies = [self.write_call(call.name, call.arguments) for call in calls]
        if layout.nested:
            return layout.open + layout.join.join(bodies) + layout.close
        return layout.join.join(layout.open + body + layout.close for body in bodies)

    def triggers(self) -> tuple[tuple[StartMarker, str], ...]:
        """Return the markers after which free text becomes a call.

        Each comes with the rest of `layout.open` that follows the marker.
        """
        found = []
        for start in self.starts:
            if self.layout.open.startswith(start.text):
                found.append((start, self.layout.open[len(start.text) :]))
        return tuple(found)
