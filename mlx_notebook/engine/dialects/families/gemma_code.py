"""Gemma 3: Python calls in a fenced block of kind tool_code.

Source: https://ai.google.dev/gemma/docs/capabilities/function-calling and Gemma 3's prompt guide.
"""

from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.notations import python_calls
from mlx_notebook.engine.dialects.notations.python_calls import PythonCalls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated

_FENCE = "```"
_PREFIXES = ("default_api.", "tools.", "functions.")


class GemmaCode(PythonCalls):
    """```` ```tool_code ````, one call a line, ```` ``` ````; `print(call)` counts as the call."""

    name = "gemma_tool_code"
    layout = Layout(open="```tool_code\n", close="\n```", nested=True)
    starts = (StartMarker("```tool_code"),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the calls of a block and ignore simple code around them."""
        count = 0
        while True:
            mark = yield from source.space()
            if not mark:
                if not count:
                    raise Truncated("The tool_code block ends before a call.")
                break
            if (yield from source.accept(_FENCE)) is not None:
                break
            if mark == "#":
                yield from source.until("\n", _FENCE, keep=True)
                continue
            if mark in ",;[]":
                source.pos += 1
                continue
            brackets = yield from _wrapping(source)
            yield from python_calls.call(source, _PREFIXES)
            for _ in range(brackets):
                yield from source.space()
                yield from source.expect(")")
            source.end()
            count += 1
        if not count:
            raise Malformed("The tool_code block holds no call.")


def _wrapping(source: TextSource) -> Parsing[int]:
    """Skip `name =` and `print(` before a call; return the number of opened brackets."""
    opened = 0
    while True:
        head, mark = yield from source.until("=", "(", _FENCE, keep=True)
        assigned = mark == "=" and head.strip().isidentifier()
        printed = mark == "(" and head.strip() == "print"
        if not assigned and not printed:
            source.pos -= len(head)
            return opened
        source.pos += 1
        opened += printed
        yield from source.space()
