"""Dialects of tags: Qwen3-Coder, GLM-4.5 and later, LongCat, MiniMax-M2, Seed-OSS.

Sources: the chat templates of these models; mlx-lm's parsers for the first four.
"""

from typing import ClassVar

from mlx_notebook.engine.dialects import json_calls, plain_calls
from mlx_notebook.engine.dialects.dialect import Layout, StartMarker
from mlx_notebook.engine.dialects.tag_calls import TagCalls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource


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

    def _call(self, source: TextSource) -> Parsing[None]:
        """Parse a call in tags, or in another form that these models sometimes use."""
        if (yield from source.space()) == "{":
            yield from json_calls.call(source)
            return
        close = self.layout.close.strip()
        text, mark = yield from source.until(self.key_open, close, keep=True)
        if mark == close and text.split()[1:]:
            plain_calls.read(source, text)
            return
        source.pos -= len(text)
        yield from super()._call(source)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one call, or a list of them as JSON."""
        if (yield from source.space()) == "[":
            source.pos += 1
            yield from json_calls.calls(source)
        yield from super().region(source)


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
