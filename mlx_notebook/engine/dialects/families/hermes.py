"""Hermes and most Qwen models: one JSON object a call, between <tool_call> tags.

Source: https://github.com/NousResearch/Hermes-Function-Calling
"""

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.families.qwen_xml import QwenXML
from mlx_notebook.engine.dialects.fences import FENCE
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments


class JSONCalls(Dialect):
    """A dialect whose calls are objects with a name and arguments."""

    argument_key = "arguments"

    def write_call(self, name: str, arguments: str) -> str:
        """Return the call as an object."""
        return json_calls.render(name, arguments, self.argument_key)

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the call as an object."""
        head = f'{{"name": {dumps(function.name)}, "{self.argument_key}": '
        return f"{rules.text(head)} {constrain_arguments(function, rules)} {rules.text('}')}"


class Hermes(JSONCalls):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

    name = "hermes"
    layout = Layout(open="<tool_call>\n", close="\n</tool_call>")
    starts = (StartMarker("<tool_call>"),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one object, or several, up to the closing tag.

        Some models put the object into a code block, or write Qwen3-Coder's tags.
        """
        is_fenced = yield from source.open_fence()
        if (yield from source.ahead()) == "<":
            yield from _TAGS.region(source)
            return
        while mark := (yield from source.ahead()):
            if mark not in "[{":
                break
            yield from source.space()
            if mark == "[":
                source.pos += 1
                yield from json_calls.calls(source)
            else:
                yield from json_calls.call(source)
                source.end()
        # Small models often write one brace too many.
        if is_fenced:
            yield from source.skip("}", _CLOSE)
            yield from source.close_fence()
            yield from source.skip(_CLOSE)
        else:
            yield from source.skip("}", _CLOSE, f"{FENCE}{_CLOSE}", f"{FENCE}\n{_CLOSE}")


_CLOSE = "</tool_call>"
_TAGS = QwenXML()
