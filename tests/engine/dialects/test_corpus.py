"""Variants of calls that models are known to write: no call is lost, and no text is swallowed."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.mlx_lm_parsers import MlxLmDialect
from mlx_notebook.engine.dialects.output_events import (
    CallEnd,
    CallFailed,
    Content,
    OutputEvent,
    ReasoningContent,
    ToolCall,
)
from mlx_notebook.engine.dialects.output_reader import MarkerReader, OutputReader
from mlx_notebook.engine.functions.declared import DeclaredFunctions

EXTRA_MARKS = (
    *(
        "```json",
        "```python",
        "<tool_call>",
        "</tool_call>",
        "</function>",
        "```",
        "<|tool_call_section_begin|>",
    ),
    *("<|tool_call_section_end|>", "<|python_end|>"),
)
FOLDER = Path(__file__).parent / "corpus"
TOOLS = DeclaredFunctions.from_tools(
    [
        {
            "type": "function",
            "function": {
                "name": "send",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "to": {"type": "string"},
                        "count": {"type": "integer"},
                        "price": {"type": "number"},
                        "fast": {"type": "boolean"},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "extra": {"type": "object"},
                        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                        "any": {},
                    },
                },
            },
        },
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "get-time.utc"}},
    ]
)


class Reading(NamedTuple):
    """What a client sees of an answer, and the texts that the trace reports."""

    calls: list[tuple[str, Any]]
    content: str
    reasoning: str
    failed: list[str]
    raw: str


def reader(name: str) -> OutputReader:
    dialect = registry.get(name)
    if name == "harmony":
        return HarmonyReader(dialect, TOOLS, hold=True)  # type: ignore[arg-type]
    return MarkerReader(dialect, TOOLS, hold=True)


def read(name: str, pieces: Iterable[str]) -> Reading:
    made = reader(name)
    events: list[OutputEvent] = [event for piece in pieces for event in made.feed(piece)]
    events += made.finish(cut=False)
    return Reading(
        [(e.call.name, json.loads(e.call.arguments)) for e in events if isinstance(e, CallEnd)],
        "".join(e.text for e in events if isinstance(e, Content)),
        "".join(e.text for e in events if isinstance(e, ReasoningContent)),
        [e.raw for e in events if isinstance(e, CallFailed)],
        "".join(e.call.raw for e in events if isinstance(e, CallEnd)),
    )


def read_in_all_ways(name: str, text: str) -> Reading:
    """Read `text` whole, letter by letter and in any two pieces; all must give the same."""
    whole = read(name, [text])
    assert read(name, text) == whole
    for at in range(1, len(text)):
        assert read(name, (text[:at], text[at:])) == whole, (text[:at], text[at:])
    return whole


VARIANTS = [
    pytest.param(entry, id=f"{entry['dialect']}: {entry['about']}")
    for file in sorted(FOLDER.glob("*.toml"))
    for entry in tomllib.loads(file.read_text("utf-8"))["variant"]
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_from_the_field_is_read_alike_in_all_pieces(variant: dict[str, str]) -> None:
    found = read_in_all_ways(variant["dialect"], variant["text"])
    assert found.calls == [(name, given) for name, given in json.loads(variant["calls"])]
    assert found.content == variant.get("content", "")
    assert found.reasoning == variant.get("reasoning", "")


def words(text: str, marks: Iterable[str] = ()) -> Counter[str]:
    for mark in sorted(filter(None, marks), key=len, reverse=True):
        text = text.replace(mark, " ")
    return Counter(re.findall(r"\w+", text))


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.values[0]["dialect"] != "harmony"])
def test_every_word_of_a_variant_is_in_a_call_or_visible(variant: dict[str, str]) -> None:
    dialect = registry.get(variant["dialect"])
    found = read(dialect.name, [variant["text"]])
    marks = [start.text for start in dialect.starts]
    marks += [dialect.layout.close.strip().removeprefix("]"), *EXTRA_MARKS]
    missing = words(variant["text"], marks) - words(found.content + found.raw)
    # Where mlx-lm reads several calls, it does not say which text is whose.
    adapted = isinstance(dialect, MlxLmDialect) and len(found.calls) + len(found.failed) > 1
    assert not missing or adapted


def test_each_dialect_has_variants() -> None:
    assert {str(param.values[0]["dialect"]) for param in VARIANTS} == set(registry.names())


# --- slips that every dialect must bear --------------------------------------------------------

SENT = ToolCall("send", '{"to": "Zürich 🌧 \\"x\\" and it\'s", "count": 3, "extra": {"k": [null]}}')
NOW = ToolCall("now", "{}")
OWN = [name for name in registry.names() if not isinstance(registry.get(name), MlxLmDialect)]
# A mark that opens a region in the middle of an answer, and one that closes it.
OPENED = [
    name
    for name in OWN
    if name != "harmony" and not any(start.first for start in registry.get(name).starts)
]
CLOSED = [name for name in OPENED if registry.get(name).layout.close.strip(" ]\n")]


def plain(*calls: ToolCall) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize("name", OPENED)
def test_text_may_stand_before_between_and_after_calls(name: str) -> None:
    write = registry.get(name).write
    text = f"First. {write([NOW])}\n\nThen: {write([SENT])} And so."
    found = read_in_all_ways(name, text)
    assert found.calls == plain(NOW, SENT)
    assert found.content == "First.\n\nThen: And so."


@pytest.mark.parametrize("name", OPENED)
def test_a_doubled_start_mark_opens_one_region(name: str) -> None:
    dialect = registry.get(name)
    mark = dialect.starts[0].text
    found = read_in_all_ways(name, f"I look. {mark}{dialect.write([SENT, NOW])}")
    assert found.calls == plain(SENT, NOW)
    assert found.content == "I look."


@pytest.mark.parametrize("name", CLOSED)
def test_a_doubled_end_mark_closes_one_region(name: str) -> None:
    dialect = registry.get(name)
    close = dialect.layout.close.strip().removeprefix("]")
    found = read_in_all_ways(name, f"{dialect.write([SENT])}\n{close} Done.")
    assert found.calls == plain(SENT)
    assert found.content == "Done."


@pytest.mark.parametrize("name", CLOSED)
def test_the_end_mark_may_be_cut_at_any_place(name: str) -> None:
    dialect = registry.get(name)
    text = dialect.write([SENT])
    close = dialect.layout.close.strip().removeprefix("]")
    for length in range(1, len(close) + 1):
        found = read(name, [text.rstrip()[:-length]])
        assert found.calls == plain(SENT), text[:-length]
        assert found.content == ""


@pytest.mark.parametrize("name", OWN)
def test_an_unknown_function_takes_no_other_call_with_it(name: str) -> None:
    text = registry.get(name).write([NOW, ToolCall("launch", '{"to": "Rome"}'), SENT])
    found = read_in_all_ways(name, text)
    assert found.calls == plain(NOW, SENT)
    assert "launch" in found.content
    assert "Rome" in found.content
    assert len(found.failed) == 1


@pytest.mark.parametrize("name", OPENED)
def test_a_mark_that_is_only_mentioned_is_text(name: str) -> None:
    mark = registry.get(name).starts[0].text
    text = f"It writes {mark} and then more"
    found = read_in_all_ways(name, text)
    assert found.calls == []
    assert found.content == text


@pytest.mark.parametrize("name", OPENED)
def test_a_code_fence_around_calls_goes_with_them(name: str) -> None:
    write = registry.get(name).write
    text = f"First.\n\n```json\n{write([NOW])}\n```\n\n```\n{write([SENT])}\n```\nDone."
    found = read_in_all_ways(name, text)
    assert found.calls == plain(NOW, SENT)
    assert found.content == "First.\nDone."


@pytest.mark.parametrize("name", OPENED)
def test_code_blocks_beside_calls_stay(name: str) -> None:
    write = registry.get(name).write
    block = "```python\nprint(1)\n```"
    text = f"{block}\n{write([NOW])}\n{block}\n\n```\nplain\n```\n\n{write([SENT])}\n\n{block}"
    found = read_in_all_ways(name, text)
    assert found.calls == plain(NOW, SENT)
    assert found.content == f"{block}\n{block}\n\n```\nplain\n```\n\n{block}"


@pytest.mark.parametrize("name", OPENED)
def test_the_fence_around_a_call_of_an_unknown_function_stays(name: str) -> None:
    text = f"```json\n{registry.get(name).write([ToolCall('launch', '{}')])}\n```"
    found = read_in_all_ways(name, text)
    assert found.calls == []
    assert found.content.startswith("```json\n")
    assert found.content.endswith("\n```")
