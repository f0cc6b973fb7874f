"""Dialects that mlx-lm's own parsers read, without streaming.

A region is collected up to its end marker and then passed to mlx_lm.tool_parsers.
"""

import importlib
from typing import Any

import msgspec

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.json_calls import load
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function
from mlx_notebook.engine.functions.parse_errors import Malformed
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.sandbox.grammar_errors import NotEnforceable


class MlxLmDialect(Dialect):
    """The dialect of one module of mlx_lm.tool_parsers.

    It has no grammar, and only the model's template can write its calls.
    """

    name = ""
    layout = Layout(open="", close="")
    starts = ()

    def __init__(self, module_name: str) -> None:
        """Load the module. Raise ValueError if mlx-lm has none of that name."""
        if not module_name.isidentifier():
            raise ValueError(f"{module_name!r} is no tool-call dialect.")
        try:
            module = importlib.import_module(f"mlx_lm.tool_parsers.{module_name}")
        except ModuleNotFoundError:
            raise ValueError(f"{module_name!r} is no tool-call dialect.") from None
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
            raise Malformed(f"mlx-lm's parser {self.name} refuses the call: {error}") from error
        for call in found if isinstance(found, list) else [found]:
            if not isinstance(call, dict) or not isinstance(call.get("name"), str):
                raise Malformed(f"mlx-lm's parser {self.name} found no call.")
            arguments: Any = call.get("arguments")
            if isinstance(arguments, str):
                arguments = load(arguments or "{}")
            if not isinstance(arguments or {}, dict):
                raise Malformed("The arguments are not an object.")
            source.start(call["name"])
            source.arguments(dumps(arguments or {}))
            source.end()

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
