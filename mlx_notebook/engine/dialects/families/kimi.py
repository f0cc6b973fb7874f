"""Kimi K2: a section of calls, each with an id that carries its name, and JSON arguments.

Source: https://huggingface.co/moonshotai/Kimi-K2-Instruct (docs/tool_call_guidance.md).
"""

import re

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments

_BEGIN = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_END = "<|tool_call_end|>"
_NUMBER = re.compile(r"[:!]\d+$")


class KimiK2(Dialect):
    """`<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`."""

    name = "kimi_k2"
    layout = Layout(
        open="<|tool_calls_section_begin|>",
        close="<|tool_calls_section_end|>",
        join="",
        nested=True,
    )
    starts = (
        StartMarker("<|tool_calls_section_begin|>"),
        StartMarker("<|tool_call_section_begin|>"),
        StartMarker(_BEGIN, kept=True),
    )

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the calls of a section. A single call may lack its marks."""
        ends = (self.layout.close, "<|tool_call_section_end|>")
        while (yield from source.ahead()):
            text, mark = yield from source.until(_BEGIN, _ARGUMENTS, *ends, keep=True)
            if mark != _ARGUMENTS:
                source.set_apart(text)
                yield from source.accept(mark)
                if mark in ends:
                    return
                text, _ = yield from source.until(_ARGUMENTS, keep=True)
            yield from source.accept(_ARGUMENTS)
            source.start(_NUMBER.sub("", text.strip().removeprefix("functions.")))
            yield from json_calls.arguments(source)
            yield from source.skip(_END)
            source.end()

    def write_call(self, name: str, arguments: str) -> str:
        """Write one call; its number in the answer is always 0."""
        return f"{_BEGIN}functions.{name}:0{_ARGUMENTS}{arguments}{_END}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for one call with any number."""
        head = rules.text(f"{_BEGIN}functions.{function.name}:")
        arguments = constrain_arguments(function, rules)
        return f"{head} /[0-9]{{1,3}}/ {rules.text(_ARGUMENTS)} {arguments} {rules.text(_END)}"
