"""Dialects of tags: Qwen3-Coder, GLM-4.5 and later, LongCat, MiniMax-M2, Seed-OSS.

Sources: the chat templates of these models; mlx-lm's parsers for the first four.
"""

from typing import ClassVar

from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls, plain_calls
from mlx_notebook.engine.dialects.notations.tag_calls import TagCalls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.parse_errors import Malformed


class QwenXML(TagCalls):
    """`<function=name><parameter=key>` and so on, inside <tool_call>."""

    name = "qwen3_coder"
    layout = Layout(open="<tool_call>\n", close="\n</tool_call>")
    starts: ClassVar[tuple[StartMarker, ...]] = (
        StartMarker("<tool_call>"),
        StartMarker("<function=", kept=True),
    )
    name_open, name_close = "<function=", ">"
    key_open, key_close = "<parameter=", ">"
    value_close, call_close = "</parameter>", "</function>"
    padded = True


class SeedOSS(QwenXML):
    """The same tags inside <seed:tool_call>."""

    name = "seed_oss"
    layout = Layout(open="<seed:tool_call>\n", close="\n</seed:tool_call>")
    starts = (StartMarker("<seed:tool_call>"),)
    padded = False


class GLM(TagCalls):
    """`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`."""

    name = "glm47"
    layout = Layout(open="<tool_call>", close="</tool_call>")
    starts = (StartMarker("<tool_call>"),)
    name_open, name_close = "", ""
    key_open, key_close = "<arg_key>", "</arg_key>"
    value_open, value_close = "<arg_value>", "</arg_value>"
    call_close = ""

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one call in tags, or in another form that these models sometimes use."""
        mark = yield from source.ahead()
        if mark in ("[", "{"):
            yield from source.space()
            if mark == "[":
                source.pos += 1
                yield from json_calls.calls(source)
            else:
                yield from json_calls.call(source)
                source.end()
        elif mark:
            yield from self._call(source)
            source.end()
        yield from source.skip(self.layout.close)

    def _call(self, source: TextSource) -> Parsing[None]:
        close, again = self.layout.close, self.layout.open
        marks = (self.key_open, self.key_close, close, again)
        text, mark = yield from source.until(*marks, keep=True)
        if mark == close and text.split()[1:]:
            plain_calls.read(source, text)
            return
        key = ""
        if mark == self.key_close:
            # The mark before the key is missing. The key may stick to the name.
            names = [f.name for f in source.tools.functions if text.strip().startswith(f.name)]
            name = max(names, key=len, default=text)
            key = text.strip().removeprefix(name).strip()
            if not key:
                raise Malformed(f"Expected a function and a key and found {text[:40]!r}.")
            source.pos += len(mark)
            text = name
        yield from self._parameters(source, source.start(text.strip()), key)

    def _slips(self) -> tuple[str, ...]:
        return (self.key_open,)


class LongCat(GLM):
    """GLM's form with tags of its own."""

    name = "longcat"
    layout = Layout(open="<longcat_tool_call>", close="</longcat_tool_call>")
    starts = (StartMarker("<longcat_tool_call>"),)
    key_open, key_close = "<longcat_arg_key>", "</longcat_arg_key>"
    value_open, value_close = "<longcat_arg_value>", "</longcat_arg_value>"


class MiniMax(TagCalls):
    """`<invoke name="...">` with `<parameter name="...">`, several in a block."""

    name = "minimax_m2"
    layout = Layout(open="<minimax:tool_call>\n", close="\n</minimax:tool_call>", nested=True)
    starts = (StartMarker("<minimax:tool_call>"),)
    name_open, name_close = '<invoke name="', '">'
    key_open, key_close = '<parameter name="', '">'
    value_close, call_close = "</parameter>", "</invoke>"
