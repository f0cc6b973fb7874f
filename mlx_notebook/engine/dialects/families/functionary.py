"""Functionary 3.1 and Llama 3.1's custom tools: JSON arguments inside a tag with the name.

Source: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#user-defined-custom-tool-calling
"""

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments


class Functionary(Dialect):
    """`<function=name>{...}</function>`."""

    name = "functionary"
    layout = Layout(open="<function=", close="</function>", join="")
    starts = (StartMarker("<function="),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one call."""
        name, _ = yield from source.until(">", "{", "<", keep=True)
        yield from source.accept(">")
        source.start(name.strip())
        if (yield from source.ahead()) == "<":
            source.arguments("{}")
        else:
            yield from json_calls.arguments(source)
        # Some models write an opening tag in the place of the closing one.
        yield from source.skip("</function>", "<function>")
        source.end()

    def write_call(self, name: str, arguments: str) -> str:
        """Return the name and the arguments between the tags."""
        return f"{name}>{arguments}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the name and the arguments."""
        return f"{rules.text(function.name + '>')} {constrain_arguments(function, rules)}"
