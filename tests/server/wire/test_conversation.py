"""Conversations in the forms that clients send."""

from typing import Any

import msgspec
import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.conversation import notices_on_order
from mlx_notebook.server.wire.openai.chat_messages import RequestMessage, engine_messages

SYSTEM = {"role": "system", "content": "Be short."}
USER = {"role": "user", "content": "Weather?"}


def rendered(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return engine_messages(msgspec.convert(list(messages), list[RequestMessage]))


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def call(name: str, id: str | None = None, **others: Any) -> dict[str, Any]:
    return {"function": {"name": name, **others}, **({"id": id} if id else {})}


def result(content: str, id: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": content, **({"tool_call_id": id} if id else {})}


def test_system_messages_at_the_start_are_joined_and_later_ones_stay_in_their_places() -> None:
    later = {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}
    answer = {"role": "assistant", "content": "Sunny."}
    marked = "<system>\nBe kind.\n</system>"
    system = {"role": "system", "content": "Be short.\n\nBe kind."}
    assert rendered(SYSTEM, later, USER) == [system, USER]
    first = [SYSTEM, USER, answer]
    assert rendered(*first, later) == [*first, {"role": "user", "content": marked}]
    # Templates want the roles to take turns.
    both = {"role": "user", "content": f"{marked}\nWeather?"}
    assert rendered(*first, later, USER) == [*first, both]
    around = {"role": "user", "content": f"Weather?\n{marked}\nWeather?"}
    assert rendered(SYSTEM, USER, later, USER, answer) == [SYSTEM, around, answer]
    assert rendered(USER, later) == [{"role": "user", "content": f"Weather?\n{marked}"}]
    assert rendered(*first, {"role": "system", "content": ""}, USER) == [*first, USER]


def test_a_late_system_message_leaves_images_in_their_places() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    (message,) = rendered({"role": "user", "content": [image]}, SYSTEM)
    assert [part["type"] for part in message["content"]] == ["image", "text"]
    assert message["content"][1]["text"] == "<system>\nBe short.\n</system>"


def test_only_a_system_message_after_another_message_is_told() -> None:
    assert notices_on_order(["system", "developer", "user", "assistant"]) == []
    assert len(notices_on_order(["user", "system", "user", "developer"])) == 1


def test_tool_results_are_sorted_by_their_calls_and_get_their_names() -> None:
    turn = calling(call("a", "1"), call("b", "2"), call("c", "3"))
    messages = rendered(USER, turn, result("C", "3"), result("A", "1"), result("B", "2"))
    assert [(m["content"], m["tool_call_id"], m["name"]) for m in messages[2:]] == [
        ("A", "1", "a"),
        ("B", "2", "b"),
        ("C", "3", "c"),
    ]


def test_tool_results_without_ids_match_the_calls_in_order() -> None:
    messages = rendered(USER, calling(call("a"), call("b")), result("A"), result("B"))
    made = messages[1]["tool_calls"]
    assert made[0]["id"] != made[1]["id"]
    assert [m["tool_call_id"] for m in messages[2:]] == [c["id"] for c in made]
    assert [m["name"] for m in messages[2:]] == ["a", "b"]


def test_a_call_without_an_id_gets_the_id_of_its_result() -> None:
    turn = calling(call("a", "1"), call("b"))
    messages = rendered(USER, turn, result("B", "other"), result("A", "1"))
    assert [c["id"] for c in messages[1]["tool_calls"]] == ["1", "other"]
    assert [m["content"] for m in messages[2:]] == ["A", "B"]


@pytest.mark.parametrize("before", [[USER], [USER, calling(call("a", "1"))]])
def test_a_result_that_matches_no_call_is_refused_by_its_id(before: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="'nobody'") as caught:
        rendered(*before, result("x", "nobody"))
    assert caught.value.param == f"messages[{len(before)}].tool_call_id"


def test_a_tool_result_may_come_turns_later() -> None:
    messages = rendered(USER, calling(call("a", "1")), USER, result("late", "1"))
    assert messages[-1]["name"] == "a"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
        ('{"b": 1, "a": 2}', {"b": 1, "a": 2}),
        ("", {}),
        (None, {}),
        ("  ", {}),
        ("[1]", "[1]"),
        ('{"broken', '{"broken'),
    ],
)
def test_arguments_are_an_object_or_text(arguments: Any, expected: Any) -> None:
    messages = rendered(USER, calling(call("a", "1", arguments=arguments)))
    given = messages[1]["tool_calls"][0]["function"]["arguments"]
    assert given == expected
    if isinstance(given, dict):
        assert list(given) == list(expected)


def test_the_order_of_keys_does_not_depend_on_the_client() -> None:
    one = {"role": "assistant", "content": "x", "reasoning": "r", "tool_calls": [call("a", "1")]}
    other = {
        "tool_calls": [{"index": 0, "type": "function", **call("a", "1", arguments="{}")}],
        "reasoning_content": "r",
        "content": [{"type": "text", "text": "x"}],
        "role": "assistant",
    }
    assert str(rendered(USER, one)) == str(rendered(USER, other))


def test_a_refusal_and_empty_results_are_text() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    assert rendered(USER, refused)[1]["content"] == "No."
    messages = rendered(USER, calling(call("a", "1")), {"role": "tool", "tool_call_id": "1"})
    assert messages[-1]["content"] == ""


@pytest.mark.parametrize("name", ["audio", "function_call"])
def test_an_unsupported_field_of_an_assistant_message_is_named(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rendered(USER, {"role": "assistant", "content": "x", name: {"id": "1"}})
    assert caught.value.param == f"messages[1].{name}"
