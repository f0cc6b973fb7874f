"""Dialects in the shape of mlx-lm's `tool_parsers`: read from its modules, and offered alike.

Such a module has `tool_call_start`, `tool_call_end` and `parse_tool_call(text, tools)`. Its region
is collected up to the end marker and then parsed, without streaming. Other packages contribute
modules as entry points of the group `mlx_notebook.tool_parsers`.
"""

import importlib
from importlib.metadata import entry_points
from typing import Any

import msgspec

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.notations.json_calls import load
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function
from mlx_notebook.engine.functions.parse_errors import Malformed
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.sandbox.grammar_errors import NotEnforceable

GROUP = "mlx_notebook.tool_parsers"


def contributed() -> tuple[str, ...]:
    """Return the names of the dialects that other packages contribute."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_module(name: str) -> Any:
    """Return the module of mlx_lm.tool_parsers with this name, or a contributed one.

    Raises
    ------
    ValueError
        If there is none, or it does not have the three names.
    """
    if name.isidentifier():
        try:
            return importlib.import_module(f"mlx_lm.tool_parsers.{name}")
        except ModuleNotFoundError:
            pass  # another package may have it
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise ValueError(f"{name!r} is no tool-call dialect.")
    module = found[0].load()
    for attribute in ("tool_call_start", "tool_call_end", "parse_tool_call"):
        if not hasattr(module, attribute):
            raise ValueError(
                f"The tool-call dialect {name!r} ({found[0].value}) has no {attribute}."
            )
    if not module.tool_call_start:
        raise ValueError(f"The tool-call dialect {name!r} ({found[0].value}) has no start marker.")
    return module


class MlxLmDialect(Dialect):
    """The dialect of one module in the shape of mlx-lm's.

    It has no grammar, and only the model's template can write its calls.
    """

    name = ""
    layout = Layout(open="", close="")
    starts = ()

    def __init__(self, module_name: str, module: Any) -> None:
        self._parse = module.parse_tool_call
        self._end: str = module.tool_call_end
        # Attributes of the instance, because one class serves all modules.
        self.__dict__["name"] = module_name
        self.__dict__["layout"] = Layout(open=module.tool_call_start, close=self._end)
        self.__dict__["starts"] = (StartMarker(module.tool_call_start),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Collect the region and parse it."""
        if self._end:
            body, _ = yield from source.until(self._end)
        else:
            while not source.closed:
                yield
            body = source.rest
            source.pos = len(source.text)
        try:
            found = self._parse(body, _declared(source.tools))
        except Exception as error:  # these parsers raise exceptions of any kind
            raise Malformed(f"The parser {self.name} refuses the call: {error}") from error
        calls = found if isinstance(found, list) else [found]
        for call in calls:
            if not isinstance(call, dict) or not isinstance(call.get("name"), str):
                raise Malformed(f"The parser {self.name} found no call.")
            arguments: Any = call.get("arguments")
            if isinstance(arguments, str):
                arguments = load(arguments or "{}")
            if not isinstance(arguments or {}, dict):
                raise Malformed("The arguments are not an object.")
            text = dumps(arguments or {})
            source.start(call["name"])
            source.arguments(text)
            # The parser does not say where in the region a call stands.
            source.end(json_calls.render(call["name"], text) if len(calls) > 1 else "")

    def write_call(self, name: str, arguments: str) -> str:
        """Raise ValueError: only the model's template can write calls of these dialects."""
        raise ValueError(
            f"Only a chat template can write the dialect {self.name}, and this model's knows no "
            "tools: set another tool_dialect for it."
        )

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Raise NotEnforceable: these dialects have no grammar."""
        raise NotEnforceable(
            f"Tool calls cannot be enforced in this model's dialect ({self.name}); "
            "use tool_choice 'auto' or another model.",
            "tool_choice",
        )


def _declared(tools: DeclaredFunctions) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": msgspec.to_builtins(function)}
        for function in tools.functions
    ]
