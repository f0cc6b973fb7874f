"""IBM Granite 3.x, Phi-4-mini, Command R7B and others: a JSON list of calls after a marker.

Source: https://www.ibm.com/granite/docs/models/granite and Phi-4-mini's model card.
"""

from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.families.hermes import JSONCalls
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments


class JSONList(JSONCalls):
    """A marker, then `[{"name": ..., "arguments": {...}}, ...]`, then perhaps an end marker."""

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the list and the end marker, if the dialect has one and the model writes it."""
        if (yield from source.space()) == "{":
            yield from json_calls.call(source)
            source.end()
        else:
            yield from source.expect("[")
            yield from json_calls.calls(source)
        close = self.layout.close.removeprefix("]")
        if close and (yield from source.space()):
            yield from source.accept(close)


class Granite(JSONList):
    """`<|tool_call|>[...]` to the end of the answer."""

    name = "granite"
    layout = Layout(open="<|tool_call|>[", close="]", join=", ", nested=True)
    starts = (StartMarker("<|tool_call|>"), StartMarker("<tool_call>"))


class Phi(JSONList):
    """`<|tool_call|>[...]<|/tool_call|>`."""

    name = "phi"
    layout = Layout(open="<|tool_call|>[", close="]<|/tool_call|>", join=", ", nested=True)
    starts = (StartMarker("<|tool_call|>"), StartMarker("functools"))


class Nemotron(JSONList):
    """`<TOOLCALL>[...]</TOOLCALL>` (NVIDIA Nemotron Nano)."""

    name = "nemotron"
    layout = Layout(open="<TOOLCALL>[", close="]</TOOLCALL>", join=", ", nested=True)
    starts = (StartMarker("<TOOLCALL>"),)


class Apriel(JSONList):
    """`<tool_calls>[...]</tool_calls>` (ServiceNow Apriel)."""

    name = "apriel"
    layout = Layout(open="<tool_calls>[", close="]</tool_calls>", join=", ", nested=True)
    starts = (StartMarker("<tool_calls>"),)


class Cohere(JSONList):
    """`<|START_ACTION|>[{"tool_name": ..., "parameters": {...}}]<|END_ACTION|>` (Command R7B)."""

    name = "cohere"
    layout = Layout(open="<|START_ACTION|>[", close="]<|END_ACTION|>", join=", ", nested=True)
    starts = (StartMarker("<|START_ACTION|>"),)

    def write_call(self, name: str, arguments: str) -> str:
        """Write the call as an object whose id is always 0."""
        return f'{{"tool_call_id": "0", "tool_name": {dumps(name)}, "parameters": {arguments}}}'

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the call as an object with any id."""
        name = rules.text(f'", "tool_name": {dumps(function.name)}, "parameters": ')
        arguments = constrain_arguments(function, rules)
        head = rules.text('{"tool_call_id": "')
        return f"{head} /[0-9]{{1,3}}/ {name} {arguments} {rules.text('}')}"
