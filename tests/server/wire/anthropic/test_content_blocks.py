import json
from typing import Any

import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic.messages_request import DECODER, MessagesRequest
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.sealed_reasoning import seal

USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}


def request(*turns: dict[str, Any], **changes: Any) -> MessagesRequest:
    body = {"max_tokens": 10, "messages": list(turns), **changes}
    return decode(DECODER, json.dumps(body).encode())


def messages(*turns: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return request(*turns, **changes).prompt().messages


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else content}


PDF = {"type": "base64", "data": "eA==", "media_type": "application/pdf"}
DOCUMENT = {"type": "document", "source": {"type": "text", "data": "x", "media_type": "text/plain"}}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content, "cache_control": {"type": "ephemeral"}}


KIND = {"role": "system", "content": "Be kind."}


def test_the_system_prompt_comes_first() -> None:
    assert messages(KIND, user("Hi"), system=[text("Be short.")]) == [
        {"role": "system", "content": "Be short.\nBe kind."},
        {"role": "user", "content": "Hi"},
    ]


def test_a_later_system_message_changes_nothing_before_it() -> None:
    first = [user("Go"), assistant(USE)]
    result = user({"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"})
    kind = {"role": "user", "content": "<system>\nBe kind.\n</system>"}
    before = messages(*first, result, system="Be short.")
    assert messages(*first, result, KIND, system="Be short.") == [*before, kind]
    # A result follows its call.
    assert messages(*first, KIND, result, system="Be short.") == [*before, kind]


def test_adjacent_turns_of_one_role_are_merged() -> None:
    assert messages(user("One"), user(text("two"), text("three"))) == [
        {"role": "user", "content": "One\ntwo\nthree"}
    ]


def test_tool_calls_and_results_keep_their_order() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("sunny")]}
    failed = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True}
    assert messages(
        user("Go"),
        assistant(
            {"type": "thinking", "thinking": "Hmm.", "signature": "s"},
            text("I look."),
            USE,
            {**USE, "id": "toolu_2", "input": {}},
        ),
        user(failed, result, text("So?")),
    )[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hmm.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a":1}'},
                },
                {
                    "id": "toolu_2",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "toolu_1", "name": "f"},
        {"role": "tool", "content": "Error: no", "tool_call_id": "toolu_2", "name": "f"},
        {"role": "user", "content": "So?"},
    ]


def test_opaque_reasoning_is_read_again_unless_another_server_wrote_it() -> None:
    hidden = {"type": "thinking", "thinking": "", "signature": seal("Hmm.")}
    foreign = {"type": "redacted_thinking", "data": "EmwKAh"}
    turns = [user("Go"), assistant(hidden, foreign, text("A")), user("On")]
    assert messages(*turns)[1] == {
        "role": "assistant",
        "content": "A",
        "reasoning_content": "Hmm.",
    }


def test_documents_in_text_are_read() -> None:
    document = {
        "type": "document",
        "title": "Notes",
        "source": {"type": "text", "media_type": "text/plain", "data": "One."},
    }
    found = {"type": "search_result", "title": "T", "source": "s", "content": [text("Two.")]}
    assert messages(user(document, found))[0]["content"] == "Notes\nOne.\nT (s)\nTwo."


def test_reasoning_and_effort_reach_the_template() -> None:
    thinking = {"type": "enabled", "budget_tokens": 5}
    asked = request(user("Hi"), thinking=thinking, output_config={"effort": "low"})
    assert asked.prompt().template_kwargs == {"enable_thinking": True, "reasoning_effort": "low"}
    assert asked.reasoning_budget == 5
    assert request(user("Hi"), thinking={"type": "adaptive"}).reasoning_budget is None
    disabled = request(user("Hi"), thinking={"type": "disabled"})
    assert disabled.prompt().template_kwargs == {"enable_thinking": False}


def test_an_answer_that_has_begun_is_continued() -> None:
    prompt = request(user("Hi"), assistant(text("I say"))).prompt()
    assert prompt.continues
    assert not prompt.add_generation_prompt
    assert prompt.messages[-1] == {"role": "assistant", "content": "I say"}


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        (
            user({"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}),
            "messages[1].content[0].tool_use_id",
        ),
        (
            user({"type": "document", "source": {**PDF, "media_type": "text/csv"}}),
            "messages[1].content[0].source.media_type",
        ),
        (user({**DOCUMENT, "pages": "1"}), "messages[1].content[0].pages"),
        (
            assistant({"type": "image", "source": {"type": "url", "url": "http://x"}}),
            "messages[1].content[0].source",
        ),
        (user(USE), "messages[1].content[0]"),
        (user({"type": "server_tool_use"}), "messages[1].content[0].type"),
        ({"role": "king", "content": "Hi"}, "messages[1].role"),
        (assistant(text("I say ")), "messages[1].content"),
        (assistant(text("")), "messages[1]"),
        (assistant(USE), "messages[1]"),
        (
            user({**DOCUMENT, "citations": {"enabled": True}}),
            "messages[1].content[0].citations",
        ),
    ],
)
def test_a_block_that_is_not_allowed_is_named(turn: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages(user("Hi"), turn)
    assert caught.value.param == param
