"""DeepSeek: calls between marks of full-width bars, with JSON arguments (V3, R1, V3.1) or tags.

Sources: the chat templates of DeepSeek-V3-0324, DeepSeek-R1-0528, DeepSeek-V3.1, DeepSeek-V3.2.
"""

from typing import Any

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.notations.tag_calls import TagCalls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import types_of
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments

_BEGIN_ALL = "<｜tool▁calls▁begin｜>"
_END_ALL = "<｜tool▁calls▁end｜>"
_BEGIN = "<｜tool▁call▁begin｜>"
_END = "<｜tool▁call▁end｜>"
_SEP = "<｜tool▁sep｜>"


def _region(source: TextSource) -> Parsing[None]:
    """Parse calls of both forms. V3 writes the type first and the arguments in a code block."""
    while (yield from source.ahead()):
        text, mark = yield from source.until(_BEGIN, _SEP, _END_ALL, keep=True)
        if mark != _SEP:
            source.set_apart(text)
            yield from source.accept(mark)
            if mark == _END_ALL:
                return
            text, _ = yield from source.until(_SEP, keep=True)
        yield from source.accept(_SEP)
        if text.strip() == "function":
            text, _ = yield from source.until("\n", "{", keep=True)
        source.start(text.strip())
        yield from source.skip("```json", "```")
        if (yield from source.ahead()) == "<":
            source.arguments("{}")
        else:
            yield from json_calls.arguments(source)
        # Some models forget to end the code block or the call.
        yield from source.skip("```", _END)
        source.end()


class DeepSeekV3(Dialect):
    """`function<sep>name`, then the arguments in a fenced block (V3, R1)."""

    name = "deepseek"
    layout = Layout(open=_BEGIN_ALL, close=_END_ALL, join="\n", nested=True)
    starts = (StartMarker(_BEGIN_ALL), StartMarker(_BEGIN, kept=True))

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the calls up to the end marker."""
        return _region(source)

    def write_call(self, name: str, arguments: str) -> str:
        """Return one call between its marks."""
        return f"{_BEGIN}function{_SEP}{name}\n```json\n{arguments}\n```{_END}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for one call between its marks."""
        head = rules.text(f"{_BEGIN}function{_SEP}{function.name}\n```json\n")
        tail = rules.text("\n```" + _END)
        return f"{head} {constrain_arguments(function, rules)} {tail}"


class DeepSeekV31(DeepSeekV3):
    """`name<sep>{...}` (V3.1)."""

    name = "deepseek_v31"
    layout = Layout(open=_BEGIN_ALL, close=_END_ALL, join="", nested=True)

    def write_call(self, name: str, arguments: str) -> str:
        """Return one call between its marks."""
        return f"{_BEGIN}{name}{_SEP}{arguments}{_END}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for one call between its marks."""
        head = rules.text(f"{_BEGIN}{function.name}{_SEP}")
        return f"{head} {constrain_arguments(function, rules)} {rules.text(_END)}"


class DeepSeekV32(TagCalls):
    """Tags with a `string` attribute that says whether the value is text or JSON (V3.2)."""

    name = "deepseek_v32"
    layout = Layout(
        open="<｜DSML｜function_calls>\n",
        close="\n</｜DSML｜function_calls>",
        nested=True,
    )
    starts = (StartMarker("<｜DSML｜function_calls>"),)
    name_open = '<｜DSML｜invoke name="'
    name_close = '">'
    key_open = '<｜DSML｜parameter name="'
    key_close = ">"
    value_close = "</｜DSML｜parameter>"
    call_close = "</｜DSML｜invoke>"

    def _key(self, text: str) -> str:
        return text.partition('"')[0]

    def _is_text(self, function: Function, key: str) -> bool:
        key, _, attributes = key.partition('"')
        if "string=" in attributes:
            return 'string="true"' in attributes
        schema = function.properties.get(key)
        return types_of(schema, function.parameters) == {"string"}

    def _read(self, text: str, schema: Any, function: Function, key: str) -> Any:
        if "string=" in key:
            return json_calls.load(text.strip())
        return super()._read(text, schema, function, key)

    def _before_value(self, key: str, value: Any) -> str:
        kind = "true" if isinstance(value, str) else "false"
        return f'{self.key_open}{key}" string="{kind}">'
