"""Every dialect: what is written is read back, however the text is cut into pieces."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_notebook.engine.dialects import reasoning, registry
from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.mlx_lm_parsers import MlxLmDialect
from mlx_notebook.engine.dialects.output_events import (
    CallArguments,
    CallEnd,
    CallFailed,
    CallStart,
    Content,
    OutputEvent,
    ReasoningContent,
    ToolCall,
)
from mlx_notebook.engine.dialects.output_reader import MarkerReader, OutputReader
from mlx_notebook.engine.functions.declared import DeclaredFunctions

OWN = [name for name in registry.names() if not isinstance(registry.get(name), MlxLmDialect)]
MARKED = [
    name
    for name in OWN
    if name != "harmony" and not any(start.first for start in registry.get(name).starts)
]

TOOLS = DeclaredFunctions.from_tools(
    [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string"},
                        "days": {"type": "integer"},
                        "ratio": {"type": "number"},
                        "metric": {"type": "boolean"},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "where": {"type": "object"},
                    },
                    "required": ["city"],
                },
            },
        },
        {"type": "function", "function": {"name": "now"}},
        {
            "type": "function",
            "function": {
                "name": "import",
                "parameters": {"properties": {"from": {"type": "string"}, "any": {}}},
            },
        },
    ]
)
WEATHER = ToolCall(
    "get_weather",
    '{"city": "Zürich 🌧 \\"x\\" \\\\ </b>", "days": 3, "metric": true, '
    '"tags": ["a, b", "c)"], "where": {"lat": 47.4, "deep": [{"n": null}]}}',
)
NOW = ToolCall("now", "{}")


def reader(name: str, **options: Any) -> OutputReader:
    dialect = registry.get(name)
    if name == "harmony":
        return HarmonyReader(dialect, TOOLS, **options)  # type: ignore[arg-type]
    return MarkerReader(dialect, TOOLS, **options)


def pieces(text: str, size: int) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


def joined(events: list[OutputEvent]) -> list[OutputEvent]:
    """The events as if the text had come at once: neighbouring deltas of one kind are one."""
    out: list[OutputEvent] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Content) and isinstance(last, Content):
            out[-1] = Content(last.text + event.text)
        elif isinstance(event, ReasoningContent) and isinstance(last, ReasoningContent):
            out[-1] = ReasoningContent(last.text + event.text)
        elif isinstance(event, CallArguments) and isinstance(last, CallArguments):
            out[-1] = CallArguments(last.index, last.text + event.text)
        else:
            out.append(event)
    return out


def run(reader: OutputReader, *texts: str, cut: bool = False) -> list[OutputEvent]:
    events = [event for text in texts for event in reader.feed(text)]
    return joined(events + reader.finish(cut=cut))


def accounted(events: list[OutputEvent]) -> str:
    """The text that events account for, in order."""
    out = []
    for event, after in zip(events, [*events[1:], None], strict=False):
        match event:
            case Content(text):
                out.append(text)
            case CallEnd(_, call):
                out.append(call.raw)
            case CallFailed(raw) if not isinstance(after, Content):
                out.append(raw)
    return "".join(out)


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


def calls(events: list[OutputEvent]) -> list[tuple[str, Any]]:
    return [
        (event.call.name, json.loads(event.call.arguments))
        for event in events
        if isinstance(event, CallEnd)
    ]


def content(events: list[OutputEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Content))


def plain(call: ToolCall) -> tuple[str, Any]:
    return call.name, json.loads(call.arguments)


@pytest.mark.parametrize("name", OWN)
def test_what_a_dialect_writes_it_reads_back(name: str) -> None:
    text = registry.get(name).write([WEATHER, NOW, WEATHER])
    events = run(reader(name), text)
    assert calls(events) == [plain(WEATHER), plain(NOW), plain(WEATHER)]
    assert content(events) == ""
    assert [e.index for e in events if isinstance(e, CallStart)] == [0, 1, 2]


@pytest.mark.parametrize("name", OWN)
def test_deltas_join_to_the_arguments_of_the_call(name: str) -> None:
    text = registry.get(name).write([WEATHER])
    for size in (1, 2, 7):
        r = reader(name)
        made = [e for piece in pieces(text, size) for e in r.feed(piece)] + r.finish(cut=False)
        deltas = "".join(e.text for e in made if isinstance(e, CallArguments))
        assert json.loads(deltas) == json.loads(WEATHER.arguments)
        ends = [e for e in made if isinstance(e, CallEnd)]
        assert ends[0].call.arguments == deltas
        kinds = [type(e) for e in made]
        assert kinds.index(CallStart) < kinds.index(CallArguments) < kinds.index(CallEnd)


@pytest.mark.parametrize("name", OWN)
def test_any_cut_in_two_pieces_gives_the_same_events(name: str) -> None:
    text = registry.get(name).write([WEATHER, NOW])
    if name in MARKED:
        text = f"I look.\n{text}"
    whole = run(reader(name), text)
    for at in range(len(text) + 1):
        assert run(reader(name), text[:at], text[at:]) == whole, at


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_many_small_pieces_give_the_same_events(name: str, size: int) -> None:
    text = registry.get(name).write([WEATHER, NOW])
    assert run(reader(name), *pieces(text, size)) == run(reader(name), text)


@pytest.mark.parametrize("name", OWN)
def test_the_name_goes_out_before_the_arguments_are_complete(name: str) -> None:
    text = registry.get(name).write([WEATHER])
    r = reader(name)
    made = r.feed(text[: text.index("Zürich") + 20])
    assert [type(event) for event in made][:1] == [CallStart]
    assert not any(isinstance(event, CallEnd) for event in made)


@pytest.mark.parametrize("name", MARKED)
def test_content_around_calls_is_kept_and_no_markup_leaks(name: str) -> None:
    dialect = registry.get(name)
    text = f"First this.\n\n{dialect.write([WEATHER])}\nThen that."
    events = run(reader(name), *pieces(text, 4))
    assert calls(events) == [plain(WEATHER)]
    assert content(events) == "First this.\nThen that."


@pytest.mark.parametrize("name", MARKED)
def test_content_between_two_regions_is_kept(name: str) -> None:
    dialect = registry.get(name)
    text = f"A {dialect.write([WEATHER])} B {dialect.write([NOW])} C"
    events = run(reader(name), text)
    assert calls(events) == [plain(WEATHER), plain(NOW)]
    assert content(events) == "A B C"


@pytest.mark.parametrize("name", OWN)
def test_a_call_of_an_undeclared_function_comes_back_as_content(name: str) -> None:
    text = registry.get(name).write([ToolCall("launch", '{"city": "Rome"}')])
    for hold in (False, True):
        events = run(reader(name, hold=hold), *pieces(text, 3))
        assert calls(events) == []
        failed = next(e for e in events if isinstance(e, CallFailed))
        assert "'launch'" in failed.reason
        assert "launch" in content(events)
        assert "Rome" in content(events)
        assert failed.index is None


@pytest.mark.parametrize("name", OWN)
def test_a_call_cut_off_by_the_token_limit_keeps_what_was_sent(name: str) -> None:
    text = registry.get(name).write([WEATHER])
    r = reader(name)
    events = run(r, text[: text.index("tags")], cut=True)
    assert [type(e) for e in events] == [CallStart, CallArguments, CallFailed]
    failed = events[-1]
    assert isinstance(failed, CallFailed)
    assert failed.truncated
    assert failed.index == 0
    assert "Zürich" in failed.raw


@pytest.mark.parametrize("name", OWN)
def test_a_call_that_is_cut_before_its_name_is_no_content(name: str) -> None:
    text = registry.get(name).write([WEATHER])
    for at in range(1, text.index("get_weather") + 4):
        call_required = {} if name == "harmony" else {"call_required": True}
        events = run(reader(name, **call_required), text[:at], cut=True)
        assert content(events) == "", text[:at]


@pytest.mark.parametrize("name", ["llama", "llama_pythonic"])
def test_an_answer_that_only_looks_like_a_call_keeps_its_beginning(name: str) -> None:
    text = {"llama": '{"city": "Rom', "llama_pythonic": "[1, 2"}[name]
    assert content(run(reader(name, hold=True), text, cut=True)) == text


@pytest.mark.parametrize("name", MARKED)
def test_a_call_that_ends_early_on_its_own_is_content(name: str) -> None:
    text = registry.get(name).write([WEATHER])
    text = text[: text.index("tags")]
    events = run(reader(name, hold=True), text)
    assert [type(e) for e in events] == [CallFailed, Content]
    assert content(events) == text


@pytest.mark.parametrize("name", OWN)
def test_every_truncation_is_accounted_for(name: str) -> None:
    text = registry.get(name).write([WEATHER, NOW])
    for at in range(len(text)):
        for hold in (False, True):
            events = run(reader(name, hold=hold), text[:at], cut=True)
            kept = "".join(accounted(events).split())
            whole = "".join(text[:at].split())
            # Only marks that close something may be passed over in silence.
            for word in ("get_weather", "city", "Zürich", "where", "null", "None", "now"):
                assert kept.count(word) == whole.count(word), (at, word)
            assert is_subsequence(kept, whole)


@pytest.mark.parametrize("name", OWN)
def test_huge_arguments_stream_through(name: str) -> None:
    value = "line of text, with \"quotes\" and 'more'\n" * 2500
    call = ToolCall("get_weather", json.dumps({"city": value, "days": 1}))
    text = registry.get(name).write([call])
    assert len(text) > 90_000
    assert calls(run(reader(name), *pieces(text, 50))) == [plain(call)]


@pytest.mark.parametrize("name", OWN)
def test_a_tool_named_like_a_keyword_is_called(name: str) -> None:
    call = ToolCall("import", '{"from": "import", "any": [1, "two"]}')
    assert calls(run(reader(name), registry.get(name).write([call]))) == [plain(call)]


@pytest.mark.parametrize("name", OWN)
def test_a_zip_code_stays_a_string(name: str) -> None:
    call = ToolCall("get_weather", '{"city": "02134"}')
    assert calls(run(reader(name), registry.get(name).write([call]))) == [plain(call)]


text_values = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="<>[]`\r\x85\u2028\u2029\0"),
    max_size=30,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text_values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdefg_", min_size=1, max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", OWN)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    city=text_values,
    days=st.integers(),
    tags=st.lists(text_values, max_size=4),
    where=st.dictionaries(st.text("xyz", min_size=1, max_size=4), json_values, max_size=3),
    size=st.integers(1, 9),
)
def test_arguments_survive_writing_and_reading(
    name: str, city: str, days: int, tags: list[str], where: dict[str, Any], size: int
) -> None:
    arguments = {"city": city, "days": days, "tags": tags, "where": where}
    call = ToolCall("get_weather", json.dumps(arguments))
    dialect: Dialect = registry.get(name)
    events = run(reader(name), *pieces(dialect.write([call]), size))
    assert calls(events) == [("get_weather", arguments)]


def test_thinking_is_split_from_content_at_every_cut() -> None:
    text = "<think>\nShort thought.\n</think>\n\nThe answer."
    for at in range(len(text) + 1):
        r = MarkerReader(reasoning=reasoning.THINK)
        assert run(r, text[:at], text[at:]) == [
            ReasoningContent("Short thought."),
            Content("The answer."),
        ]


def test_thinking_that_the_prompt_opened_goes_on_from_the_first_token() -> None:
    r = MarkerReader(reasoning=reasoning.THINK, in_reasoning=True)
    assert r.in_reasoning
    events = run(r, "\nSo ", "be it.\n</", "think>\n\nYes.")
    assert events == [ReasoningContent("So be it."), Content("Yes.")]
    assert not r.in_reasoning


def test_a_call_inside_unclosed_thinking_is_a_call() -> None:
    r = MarkerReader(registry.get("hermes"), TOOLS, reasoning.THINK, in_reasoning=True)
    events = run(r, "I need the time.\n" + registry.get("hermes").write([NOW]) + "\nDone")
    assert events[0] == ReasoningContent("I need the time.")
    assert calls(events) == [plain(NOW)]
    assert content(events) == "Done"


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it() -> None:
    for at in range(12):
        text = "One END two"
        r = MarkerReader(stop=["END", "never"])
        assert run(r, text[:at], text[at:]) == [Content("One ")]
        assert r.stopped


def test_text_that_only_looks_like_a_mark_is_content() -> None:
    r = MarkerReader(registry.get("hermes"), TOOLS, reasoning.THINK)
    text = "a < b, <tool_box>, </think2> and <tool_call"
    assert content(run(r, *pieces(text, 1))) == text


def test_blank_lines_inside_content_are_kept() -> None:
    r = MarkerReader(registry.get("hermes"), TOOLS, reasoning.THINK)
    text = "def f():\n\n    return 1\n\n\nx = 2  \n"
    assert content(run(r, *pieces(text, 2))) == text


def test_a_row_without_marks_passes_text_through_untouched() -> None:
    r = MarkerReader()
    assert r.feed("  \n") == [Content("  \n")]
    assert r.finish(cut=False) == []
