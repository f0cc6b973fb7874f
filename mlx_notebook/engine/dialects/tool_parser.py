"""A dialect in the shape of mlx-lm's `tool_parsers`, for mlx-lm's server and others."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.families.harmony import Harmony
from mlx_notebook.engine.dialects.notations.json_calls import load
from mlx_notebook.engine.dialects.output_events import CallEnd, CallFailed
from mlx_notebook.engine.dialects.output_reader import read
from mlx_notebook.engine.functions.declared import DeclaredFunctions


class ToolParser(msgspec.Struct, frozen=True):
    """What a module of mlx-lm's `tool_parsers` has: two markers and a function.

    mlx-lm's `TokenizerWrapper` takes the three as `tool_call_start`, `tool_call_end` and
    `tool_parser`.
    """

    dialect: Dialect
    tool_call_start: str
    tool_call_end: str

    def parse_tool_call(
        self, text: str, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Parse the text between the markers. Return a call, or a list of several.

        A call is a dictionary with `name` and `arguments`, a dictionary.

        Raises
        ------
        ValueError
            If the text holds no call, or one that cannot be read. `tools`, if given, are the
            functions that may be called.
        """
        whole = self.tool_call_start + text + self.tool_call_end
        events = read(whole, self.dialect, DeclaredFunctions.from_tools(tools))
        for event in events:
            if isinstance(event, CallFailed):
                raise ValueError(event.reason)
        ends = [event.call for event in events if isinstance(event, CallEnd)]
        calls = [{"name": call.name, "arguments": load(call.arguments)} for call in ends]
        return calls[0] if len(calls) == 1 else calls


def tool_parser(name: str) -> ToolParser:
    """Return a dialect by its name, in the shape of mlx-lm's `tool_parsers`.

    Raises
    ------
    ValueError
        If there is no such dialect, or it is no text between two markers (harmony).
    """
    dialect = registry.get(name)
    if isinstance(dialect, Harmony):
        raise ValueError(f"The dialect {name!r} has channels: mlx-lm's parsers cannot read it.")
    close = dialect.layout.close.strip().removeprefix("]")
    return ToolParser(dialect, dialect.starts[0].text, close)
