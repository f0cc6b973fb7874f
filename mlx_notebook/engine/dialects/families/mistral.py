"""Mistral: [TOOL_CALLS], then a JSON list (to v7) or name[ARGS]{...} (from v11).

Source: https://github.com/mistralai/mistral-common (tokenizers v3 to v13).
"""

import re

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.families.granite import JSONList
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments

_MARKER = "[TOOL_CALLS]"
_HEADER = re.compile(r"\s*[\w-]+\s*\[ARGS\]")
_HEADER_BEGUN = re.compile(r"\s*([\w-]+\s*(\[(A(R(GS?)?)?)?)?)?\Z")


def _region(source: TextSource) -> Parsing[None]:
    """Parse calls of both forms, with a marker before each call or only before the first."""
    mark = yield from source.space()
    if mark == "[":
        source.pos += 1
        yield from json_calls.calls(source)
        return
    while True:
        if mark == "{":
            yield from json_calls.call(source)
        else:
            head, _ = yield from source.until("[ARGS]", "{", keep=True)
            name, _, _ = head.partition("[CALL_ID]")
            yield from source.accept("[ARGS]")
            source.start(name.strip())
            yield from json_calls.arguments(source)
        source.end()
        if (yield from _header_follows(source)):
            mark = yield from source.space()
            continue
        if (yield from source.ahead()) not in ("[", ","):
            return
        yield from source.space()
        if (yield from source.accept(_MARKER, ",")) is None:
            return
        mark = yield from source.space()


def _header_follows(source: TextSource) -> Parsing[bool]:
    """Return whether another `name[ARGS]` follows without its marker; read nothing."""
    while _HEADER.match(source.rest) is None:
        if source.closed or _HEADER_BEGUN.match(source.rest) is None:
            return False
        yield
    return True


class Mistral(Dialect):
    """`[TOOL_CALLS]name[ARGS]{...}`, once per call."""

    name = "mistral"
    layout = Layout(open=_MARKER, close="", join="")
    starts = (StartMarker(_MARKER),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse calls of either form to the end of the answer."""
        return _region(source)

    def write_call(self, name: str, arguments: str) -> str:
        """Return the call without its marker."""
        return f"{name}[ARGS]{arguments}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the call without its marker."""
        return f"{rules.text(function.name + '[ARGS]')} {constrain_arguments(function, rules)}"


class MistralList(JSONList):
    """`[TOOL_CALLS][{"name": ..., "arguments": {...}}]`."""

    name = "mistral_list"
    layout = Layout(open=_MARKER + "[", close="]", join=", ", nested=True)
    starts = (StartMarker(_MARKER),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse calls of either form to the end of the answer."""
        return _region(source)
