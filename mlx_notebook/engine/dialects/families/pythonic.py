"""Liquid's LFM2 and Llama 4: a Python list of calls, between marks or as the whole answer.

Sources: https://huggingface.co/LiquidAI/LFM2-1.2B and Llama 4's prompt format.
"""

import re
from typing import ClassVar

from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls, python_calls
from mlx_notebook.engine.dialects.notations.python_calls import PythonCalls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource

_NAME = re.compile(r"\s*[\w.\-]+\s*")


class Pythonic(PythonCalls):
    """`<|tool_call_start|>[name(key=value), ...]<|tool_call_end|>`."""

    name = "pythonic"
    layout = Layout(open="<|tool_call_start|>[", close="]<|tool_call_end|>", join=", ", nested=True)
    starts: ClassVar[tuple[StartMarker, ...]] = (StartMarker("<|tool_call_start|>"),)
    ends: ClassVar[tuple[str, ...]] = ("<|tool_call_end|>",)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the list and the end mark after it. A single call may stand without a list."""
        close = self.layout.close.removeprefix("]")
        if close and (yield from source.ahead()) != "[":
            text, mark = yield from source.until("[", "(", close, keep=True)
            if mark == "(" and _NAME.fullmatch(text):
                source.pos -= len(text)
                yield from python_calls.call(source, bare=True)
                source.end()
                yield from source.skip(close)
                return
            if mark == "(":
                more, _ = yield from source.until("[", close, keep=True)
                text += more
            source.set_apart(text)
        yield from source.space()
        yield from source.expect("[")
        while mark := (yield from source.space()):
            if mark == ",":
                source.pos += 1
            elif mark in "]<":
                break
            else:
                if mark == "{":
                    yield from json_calls.call(source)
                else:
                    yield from python_calls.call(source, bare=True)
                source.end()
        yield from source.skip("]")
        yield from source.skip(*self.ends)


class LlamaPythonic(Pythonic):
    """The list alone, as the whole answer (Llama 3.2 and 4)."""

    name = "llama_pythonic"
    layout = Layout(open="[", close="]", join=", ", nested=True)
    starts = (
        StartMarker("<|python_tag|>"),
        StartMarker("<|python_start|>"),
        StartMarker("[", first=True, kept=True),
    )

    ends = ("<|python_end|>",)

    def triggers(self) -> tuple[tuple[StartMarker, str], ...]:
        """Constrain only after a mark, because a bare list may be an ordinary answer."""
        return ((StartMarker("<|python_tag|>"), "["), (StartMarker("<|python_start|>"), "["))
