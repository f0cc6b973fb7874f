"""Histories as clients send them, and tools for models whose template knows of none."""

import json
from typing import Any

import pytest

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.output_events import CallEnd, Content
from mlx_notebook.engine.dialects.output_reader import read
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.prompts.tool_prompt import (
    InvalidHistory,
    as_text,
    describe,
    normalize_messages,
    supports_tools,
)

TOOLS = DeclaredFunctions.from_tools(
    [
        {
            "type": "function",
            "function": {
                "name": "get-weather",
                "description": "The weather of a city.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "description": "Its name."},
                        "unit": {"enum": ["C", "F"], "default": "C"},
                        "days": {"type": ["integer", "null"]},
                        "tags": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["city"],
                },
            },
        },
        {"type": "function", "function": {"name": "now"}},
    ]
)


def call(name: str, arguments: Any, **rest: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **rest}


def asks(*calls: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


@pytest.mark.parametrize("arguments", ['{"b": 1, "a": 2}', {"b": 1, "a": 2}])
def test_arguments_come_as_text_or_object_and_keep_their_order(arguments: Any) -> None:
    (message,) = normalize_messages([asks(call("f", arguments, id="x", type="function", index=0))])
    found = message["tool_calls"][0]
    assert found == {
        "id": "x",
        "type": "function",
        "function": {"name": "f", "arguments": {"b": 1, "a": 2}},
    }
    assert list(found["function"]["arguments"]) == ["b", "a"]
    assert message["content"] == ""


@pytest.mark.parametrize("arguments", ["", None, {}, "  ", "{}", "null"])
def test_no_arguments_are_an_empty_object_however_they_are_written(arguments: Any) -> None:
    (message,) = normalize_messages([asks(call("f", arguments))])
    assert message["tool_calls"][0]["function"]["arguments"] == {}


def test_missing_ids_are_filled_in_and_results_find_their_calls() -> None:
    messages = normalize_messages(
        [
            asks(call("f", "{}"), call("g", "{}")),
            {"role": "tool", "name": "g", "content": "of g"},
            {"role": "tool", "content": "of f"},
        ]
    )
    ids = [found["id"] for found in messages[0]["tool_calls"]]
    assert len(set(ids)) == 2
    results = [(m["tool_call_id"], m["name"], m["content"]) for m in messages[1:]]
    assert results == [(ids[0], "f", "of f"), (ids[1], "g", "of g")]


def test_results_in_any_order_follow_the_order_of_their_calls() -> None:
    messages = normalize_messages(
        [
            {"role": "user", "content": "Go"},
            asks(call("f", "{}", id="1"), call("g", "{}", id="2"), call("h", "{}", id="3")),
            {"role": "tool", "tool_call_id": "3", "content": "c"},
            {"role": "tool", "tool_call_id": "1", "content": "a"},
            {"role": "tool", "tool_call_id": "2", "content": None},
            {"role": "user", "content": "And now?"},
        ]
    )
    assert [m["content"] for m in messages] == ["Go", "", "a", "", "c", "And now?"]
    assert [m.get("name") for m in messages[2:5]] == ["f", "g", "h"]


def test_a_result_that_answers_no_call_is_refused_by_its_id() -> None:
    with pytest.raises(InvalidHistory, match="'call_9'"):
        normalize_messages(
            [asks(call("f", "{}", id="1")), {"role": "tool", "tool_call_id": "call_9"}]
        )
    with pytest.raises(InvalidHistory, match="no call"):
        normalize_messages([{"role": "tool", "content": "x"}])


@pytest.mark.parametrize("arguments", ['{"a": "cut o', "[1]", "3"])
def test_arguments_that_are_no_object_stay_what_the_model_wrote(arguments: str) -> None:
    history = [{"role": "user", "content": "Go"}, asks(call("f", arguments))]
    assert normalize_messages(history)[1]["tool_calls"][0]["function"]["arguments"] == arguments
    for dialect in ("gemma_tool_code", "hermes"):
        told = as_text(history, DeclaredFunctions.from_tools([]), registry.get(dialect))
        assert arguments in told[1]["content"]


def test_templates_that_use_tools_are_told_from_those_that_do_not() -> None:
    assert supports_tools("{% if tools %}{{ tools | tojson }}{% endif %}{{ messages }}")
    assert supports_tools("{% generation %}{{ tools }}{% endgeneration %}")
    assert not supports_tools("{% for m in messages %}{{ m.content }}, tools{% endfor %}")
    assert not supports_tools(None)


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    asks(call("get-weather", '{"city": "Zürich"}', id="a"), call("now", "", id="b")),
    {"role": "tool", "tool_call_id": "b", "content": "noon"},
    {"role": "tool", "tool_call_id": "a", "content": '{"sky": "blue"}'},
    {"role": "user", "content": "Well?"},
]


@pytest.mark.parametrize("name", ["gemma_tool_code", "hermes", "llama"])
def test_a_conversation_with_tools_becomes_alternating_text(name: str) -> None:
    dialect = registry.get(name)
    messages = as_text(CONVERSATION, TOOLS, dialect)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Be brief.\n\n")
    assert "The weather of a city." in messages[0]["content"]
    calls = [
        (e.call.name, json.loads(e.call.arguments))
        for e in read(messages[2]["content"], dialect, TOOLS)
        if isinstance(e, CallEnd)
    ]
    assert calls == [("get-weather", {"city": "Zürich"}), ("now", {})]
    last = messages[3]["content"]
    assert last.index("blue") < last.index("noon") < last.index("Well?")


def test_gemmas_results_are_tool_output_blocks() -> None:
    text = as_text(CONVERSATION, TOOLS, registry.get("gemma_tool_code"))[3]["content"]
    assert text.startswith('```tool_output\n# get_weather\n{"sky": "blue"}\n```')


def test_gemmas_functions_are_described_as_python() -> None:
    text = describe(TOOLS, registry.get("gemma_tool_code"))
    stub = text.partition("```python\n")[2].partition("\n```")[0]
    compile(stub, "stub", "exec")
    assert 'unit: Literal["C", "F"] = "C"' in stub
    assert "days: int | None = None" in stub
    assert "tags: list[str] = None" in stub
    assert "city: Its name." in stub


@pytest.mark.parametrize("name", ["hermes", "llama", "qwen3_coder", "mistral", "granite"])
def test_other_families_get_schemas_and_an_example_that_their_parser_reads(name: str) -> None:
    dialect = registry.get(name)
    text = describe(TOOLS, dialect)
    lines = text.partition("<tools>\n")[2].partition("\n</tools>")[0].splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["get-weather", "now"]
    example = text.partition("in exactly this form:\n")[2].partition("\n\nThe results")[0]
    events = read(example, dialect, DeclaredFunctions())
    assert [e.call.name for e in events if isinstance(e, CallEnd)] == ["function_name"]
    assert not any(isinstance(e, Content) for e in events)


def test_a_template_without_system_messages_gets_the_tools_in_the_first_user_message() -> None:
    messages = as_text(CONVERSATION, TOOLS, registry.get("gemma_tool_code"), system_role=False)
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].endswith("Weather?")


def test_pictures_beside_texts_stay_parts() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = as_text(
        [
            {"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]},
            {"role": "user", "content": "Tell me."},
        ],
        DeclaredFunctions(),
        registry.get("hermes"),
    )
    assert messages == [
        {
            "role": "user",
            "content": [
                picture,
                {"type": "text", "text": "What is it?"},
                {"type": "text", "text": "Tell me."},
            ],
        }
    ]


def test_without_tools_only_the_history_is_rewritten() -> None:
    messages = as_text(CONVERSATION, DeclaredFunctions(), registry.get("hermes"))
    assert messages[0]["content"] == "Be brief."
    assert "<tool_call>" in messages[2]["content"]


def test_the_text_of_a_growing_conversation_keeps_its_beginning() -> None:
    dialect = registry.get("hermes")
    before = as_text(CONVERSATION[:3], TOOLS, dialect)
    after = as_text(CONVERSATION, TOOLS, dialect)
    assert after[: len(before)] == before
