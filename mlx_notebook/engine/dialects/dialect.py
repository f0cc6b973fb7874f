"""What a tool-call dialect is: its markers, its parser, and how it writes and constrains calls."""

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from mlx_notebook.engine.dialects.output_events import ToolCall
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules


class Layout(msgspec.Struct, frozen=True):
    """How calls stand in the text, as the models' templates write them.

    `open`, one call and `close` make a region. With `nested`, a region holds several calls with
    `join` between them; otherwise each call has a region and `join` stands between regions.
    With `single`, the answer ends with its first call.
    """

    open: str
    close: str
    join: str = "\n"
    nested: bool = False
    single: bool = False


class StartMarker(msgspec.Struct, frozen=True):
    """A text that opens a call region.

    With `first`, only where nothing but white space comes before it in the answer; with `kept`,
    the text belongs to the region's own syntax and is handed to the parser.
    """

    text: str
    first: bool = False
    kept: bool = False


class Dialect(ABC):
    """One way of writing tool calls; stateless, one object a dialect."""

    name: ClassVar[str]
    layout: ClassVar[Layout]
    starts: ClassVar[tuple[StartMarker, ...]]
    harmony: ClassVar[bool] = False
    """True where messages have channels and `MarkerReader` is replaced by `HarmonyReader`."""

    @abstractmethod
    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one region: what follows a start marker, up to and including its end marker."""

    @abstractmethod
    def write_call(self, name: str, arguments: str) -> str:
        """Return one call in this dialect, without the region's markers.

        `arguments` is a JSON object as text.
        """

    @abstractmethod
    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return a Lark expression for any one valid call of `function`, as `write_call` does.

        Raises NotEnforceable where this dialect, or a strict schema in it, cannot be enforced.
        """

    def write(self, calls: list[ToolCall]) -> str:
        """Return `calls` as a model of this dialect writes them."""
        if not calls:
            return ""
        layout = self.layout
        bodies = [self.write_call(call.name, call.arguments) for call in calls]
        if layout.nested:
            return layout.open + layout.join.join(bodies) + layout.close
        return layout.join.join(layout.open + body + layout.close for body in bodies)

    def triggers(self) -> tuple[tuple[StartMarker, str], ...]:
        """Return the texts after which a free answer becomes a call, each with what is left.

        What is left is the part of `layout.open` that the marker has not yet written.
        """
        found = []
        for start in self.starts:
            if self.layout.open.startswith(start.text):
                found.append((start, self.layout.open[len(start.text) :]))
        return tuple(found)
