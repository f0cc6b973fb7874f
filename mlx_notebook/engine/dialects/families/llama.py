"""Llama 3.x: a bare JSON object as the whole answer, or after <|python_tag|>.

Source: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#json-based-tool-calling
"""

from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.families.hermes import JSONCalls
from mlx_notebook.engine.dialects.notations import json_calls, python_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.parse_errors import Malformed


class Llama(JSONCalls):
    """`{"name": ..., "parameters": {...}}`, several separated by semicolons."""

    name = "llama"
    argument_key = "parameters"
    layout = Layout(open="", close="", join="; ", nested=True)
    starts = (StartMarker("<|python_tag|>"), StartMarker("{", first=True, kept=True))

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse objects to the end of the text."""
        count = 0
        while True:
            mark = yield from source.space()
            if mark == "{":
                yield from json_calls.call(source)
                source.end()
                count += 1
            elif mark and mark in ";,":
                source.pos += 1
            elif mark == "[" and not count:
                source.pos += 1
                yield from json_calls.calls(source)
                count += 1
            elif mark.isalpha() and not count:
                # The form of the built-in tools: name.call(key="value").
                yield from python_calls.call(source, suffix=".call")
                source.end()
                count += 1
            else:
                break
        if not count:
            raise Malformed("The text after the marker is not a JSON call.")

    def triggers(self) -> tuple[tuple[StartMarker, str], ...]:
        """Any call may follow the tag. A bare object must begin with a name to be a call."""
        bare = '{"name": "'
        return ((StartMarker("<|python_tag|>"), ""), (StartMarker(bare, first=True, kept=True), ""))
