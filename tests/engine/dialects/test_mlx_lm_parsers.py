"""Every text that mlx-lm's parsers read is read here, and alike, whole and letter by letter."""

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx_lm.tool_parsers
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.mlx_lm_parsers import MlxLmDialect
from mlx_notebook.engine.dialects.output_events import CallEnd, Content, OutputEvent
from mlx_notebook.engine.dialects.output_reader import MarkerReader, read
from mlx_notebook.engine.dialects.tool_parser import tool_parser
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from tests.engine import vocabularies

DECLARED = [
    {
        "type": "function",
        "function": {
            "name": "multiply",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "send",
            "parameters": {
                "type": "object",
                "properties": {
                    "to": {"type": "string"},
                    "fast": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "where": {"type": "object"},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}},
]
TOOLS = DeclaredFunctions.from_tools(DECLARED)

JSON_FORMS = [
    '{"name": "multiply", "arguments": {"a": 2, "b": 3}}',
    '\n{"name": "multiply", "arguments": {"a": 2, "b": 3}}\n',
    '{"arguments": {"to": "Ann {x} \\"y\\""}, "name": "send"}',
    '{"name": "now", "arguments": {}}',
]


def tagged(tag: str) -> list[str]:
    """GLM's form with tags that begin with `tag`."""

    def pair(key: str, value: str, gap: str = "") -> str:
        return (
            f"<{tag}arg_key>{key}</{tag}arg_key>{gap}<{tag}arg_value>{value}</{tag}arg_value>{gap}"
        )

    return [
        "multiply" + pair("a", "2") + pair("b", "3"),
        "multiply\n" + pair("a", "2", "\n") + pair("b", "3", "\n"),
        "send" + pair("to", "02134") + pair("fast", "true") + pair("tags", '["x"]'),
        "send" + pair("to", "a < b") + pair("where", "{'x': 1}"),
    ]


TEXTS: dict[str, list[str]] = {
    "glm47": [
        *tagged(""),
        *JSON_FORMS,
        "now",
        "multiply a=2 b=3",
        "send to='Ann Lee' fast=true",
        'send to="02134" tags=[]',
        'multiply {"a": 2, "b": 3}',
        "multiply {'a': 2, 'b': 3}",
        'multiply\n{"a": 2, "b": 3}',
        "send\n{'to': 'Ann', 'fast': True}",
        "send something to Ann",
        '{"function": "multiply", "arguments": {"a": 2, "b": 3}}',
        '{"tool": {"name": "multiply", "arguments": {"a": 2, "b": 3}}}',
        '{"name": {"name": "multiply"}, "arguments": {"a": 2, "b": 3}}',
        '{"function": {"name": "now"}, "arguments": null}',
        '{"name": "multiply", "arguments": "{\\"a\\": 2, \\"b\\": 3}"}',
        '{"name": "multiply", "arguments": "{\'a\': 2, \'b\': 3}"}',
        '[{"name": "multiply", "arguments": {"a": 2, "b": 3}}]',
    ],
    "longcat": [*tagged("longcat_"), *JSON_FORMS],
    "json_tools": JSON_FORMS,
    "qwen3_coder": [
        "<function=multiply>\n<parameter=a>\n2\n</parameter>\n<parameter=b>\n3\n</parameter>\n"
        "</function>",
        "\n<function=now>\n</function>\n",
        "I call it.\n<function=send><parameter=to>Ann\nLee</parameter></function>",
        "<function=send\n<parameter=to>\nAnn\n</parameter>\n</function>",
        '<function=send>\n<parameter=tags>\n["x", "y"]\n</parameter>\n'
        "<parameter=where>\n{'x': 1}\n</parameter>\n</function>",
        "<function=send>\n<parameter=fast>\nTrue\n</parameter>\n</function>",
    ],
    "minimax_m2": [
        '<invoke name="multiply"><parameter name="a">2</parameter><parameter name="b">3'
        "</parameter></invoke>",
        "<invoke name='multiply'>\n<parameter name='a'>2</parameter>\n</invoke>",
        "<invoke name=multiply>\n<parameter name=a>2</parameter>\n</invoke>",
        'First this: <invoke name="now"></invoke> then <invoke name="send">'
        '<parameter name="to">Ann</parameter></invoke>',
        '<invoke name="send"><parameter name="tags">["x"]</parameter></invoke>',
    ],
    "kimi_k2": [
        "<|tool_call_begin|>functions.multiply:0<|tool_call_argument_begin|>"
        '{"a": 2, "b": 3}<|tool_call_end|>',
        "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
        '<|tool_call_begin|>send:1<|tool_call_argument_begin|> {"to": "Ann"} <|tool_call_end|>',
        'functions.multiply:0<|tool_call_argument_begin|>{"a": 2, "b": 3}',
        "functions.send:0<|tool_call_argument_begin|>{'to': 'Ann', 'fast': True}",
    ],
    "mistral": [
        'multiply[ARGS]{"a": 2, "b": 3}',
        'multiply [ARGS] {"a": 2, "b": 3}',
        'now[ARGS]{}send[ARGS]{"to": "Ann"}',
        'now[ARGS]{}\nsend[ARGS]{"to": "Ann"}',
        '[{"name": "multiply", "arguments": {"a": 2, "b": 3}}]',
        '[{"name": "multiply", "arguments": "{\\"a\\": 2}", "id": "abc123456"}, {"name": "now"}]',
    ],
    "function_gemma": [
        "call:multiply{a:2,b:3}",
        "call:send{to:<escape>Ann, Lee<escape>,fast:true}",
        "call:now{}",
        "I do: call:send{to:<escape>Ann<escape>}",
    ],
    "gemma4": [
        "call:multiply{a:2,b:3}",
        'call:send{to:<|"|>Ann {Lee}, x<|"|>,fast:true}',
        'call:send{tags:[<|"|>x<|"|>,<|"|>y<|"|>],where:{x:1,y:{z:null}}}',
        'call:now{}call:send{to:<|"|>Ann<|"|>}',
        'call:send{"to":"Ann, Lee"}',
        'So: call:send{to:"Ann"} and call:now{}',
    ],
    "pythonic": [
        "[multiply(a=2, b=3)]",
        "[now(), send(to='Ann', tags=['x'], fast=True)]",
        '[send(to="Ann", where={"x": true, "y": null})]',
        "I do: [now()]",
        "[send(to=Ann)]",
        "[send(to=Ann Lee, fast=True)]",
    ],
}
TEXTS["laguna"] = TEXTS["glm47"]
CASES = [(name, text) for name, texts in TEXTS.items() for text in texts]


def theirs(name: str, text: str) -> list[tuple[str, Any]]:
    parser = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    found = parser.parse_tool_call(text, DECLARED)
    return [
        (call["name"], call.get("arguments") or {})
        for call in (found if isinstance(found, list) else [found])
    ]


def ours(name: str, text: str, size: int) -> tuple[list[tuple[str, Any]], str]:
    """The calls that are read in pieces of `size`, and what is left as content."""
    parser = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    whole = f"{parser.tool_call_start}{text}{parser.tool_call_end}"
    reader = MarkerReader(registry.get(name), TOOLS, hold=True)
    events: list[OutputEvent] = []
    for at in range(0, len(whole), size):
        events += reader.feed(whole[at : at + size])
    events += reader.finish(cut=False)
    calls = [
        (event.call.name, json.loads(event.call.arguments))
        for event in events
        if isinstance(event, CallEnd)
    ]
    return calls, "".join(event.text for event in events if isinstance(event, Content))


# mlx-lm drops the text around calls. Here it is content.
AROUND = ("I call it.", "First this: then", "I do:", "So: and")


@pytest.mark.parametrize(("name", "text"), CASES)
def test_what_mlx_lm_reads_is_read_alike(name: str, text: str) -> None:
    expected = theirs(name, text)
    assert expected
    around = next((words for words in AROUND if text.startswith(words[:4])), "")
    for size in (len(text) + 100, 1, 5):
        assert ours(name, text, size) == (expected, around), size


@pytest.mark.parametrize(("name", "text"), CASES)
def test_our_dialects_are_offered_in_mlx_lms_shape(name: str, text: str) -> None:
    module = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    offered = tool_parser(name)
    assert offered.tool_call_start == module.tool_call_start
    assert offered.tool_call_end == module.tool_call_end
    found = offered.parse_tool_call(text, DECLARED)
    calls = found if isinstance(found, list) else [found]
    assert [(call["name"], call["arguments"]) for call in calls] == theirs(name, text)


def test_each_dialect_between_two_marks_is_offered() -> None:
    for name in registry.names():
        if name == "harmony":
            with pytest.raises(ValueError, match="channels"):
                tool_parser(name)
            continue
        with pytest.raises(ValueError, match=r"\w"):
            tool_parser(name).parse_tool_call("no call at all", DECLARED)


def test_mlx_lms_tokenizer_takes_an_offered_dialect() -> None:
    offered = tool_parser("deepseek")
    wrapper = TokenizerWrapper(
        vocabularies.byte_level(),
        tool_parser=offered.parse_tool_call,
        tool_call_start=offered.tool_call_start,
        tool_call_end=offered.tool_call_end,
    )
    assert wrapper.has_tool_calling
    assert wrapper.tool_parser("<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}", None) == {
        "name": "now",
        "arguments": {},
    }


@pytest.fixture
def contribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Dialect]]:
    """Install a package whose module, with the given source, is a dialect `arrows`."""

    def install(source: str) -> Dialect:
        (tmp_path / "arrow_calls.py").write_text(source)
        info = tmp_path / "arrow_calls-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: arrow-calls\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[mlx_notebook.tool_parsers]\narrows = arrow_calls\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        return registry.get("arrows")

    yield install
    sys.modules.pop("arrow_calls", None)
    registry._get.cache_clear()


ARROWS = """
tool_call_start = "=>"
tool_call_end = "<="

def parse_tool_call(text, tools=None):
    name, _, value = text.strip().partition(" ")
    return {"name": name, "arguments": {"to": value} if value else {}}
"""


def test_another_package_contributes_a_dialect(contribute: Callable[[str], Dialect]) -> None:
    dialect = contribute(ARROWS)
    assert "arrows" in registry.names()
    events = read("I do: =>send Ann<= and =>now<= then =>launch<=", dialect, TOOLS)
    calls = [event.call for event in events if isinstance(event, CallEnd)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("send", {"to": "Ann"}),
        ("now", {}),
    ]
    text = "".join(event.text for event in events if isinstance(event, Content))
    assert text == "I do: and then =>launch<="


def test_a_contributed_module_must_have_mlx_lms_names(
    contribute: Callable[[str], Dialect],
) -> None:
    with pytest.raises(ValueError, match=r"'arrows' \(arrow_calls\) has no tool_call_end"):
        contribute('tool_call_start = "=>"')


def test_every_parser_of_mlx_lm_is_compared_or_used_as_it_is() -> None:
    names = {module.name for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)}
    adapted = {name for name in names if isinstance(registry.get(name), MlxLmDialect)}
    assert names == {*TEXTS, *adapted}
