from typing import Any

import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.responses.item_messages import ItemMessageBuilder
from mlx_notebook.server.wire.responses.response_items import listed_item, typed_item
from mlx_notebook.server.wire.sealed_reasoning import seal

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}


def messages(*items: dict[str, Any], instructions: str | None = None) -> list[dict[str, Any]]:
    conversation = ItemMessageBuilder(instructions)
    for index, item in enumerate(items):
        path = f"input[{index}]"
        conversation.add(typed_item(item, path), path)
    return conversation.messages


def test_messages_need_no_type() -> None:
    parts = [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "two"}]
    assert messages(
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Yes"},
        instructions="Be short.",
    ) == [
        {"role": "system", "content": "Be short."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One\ntwo"},
        {"role": "assistant", "content": "Yes"},
    ]


def test_the_items_of_a_turn_become_one_message() -> None:
    said = [{"type": "output_text", "text": "I look.", "annotations": []}]
    thought = [{"type": "reasoning_text", "text": "Hmm."}]
    assert messages(
        {"role": "user", "content": "Go"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": thought},
        {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": said},
        CALL,
        {**CALL, "call_id": "c2", "arguments": ""},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"role": "assistant", "content": "Done"},
    )[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hmm.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "content": "Done"},
    ]


def test_sealed_reasoning_is_read_again_unless_another_server_wrote_it() -> None:
    answer = {"role": "assistant", "content": "A"}
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": seal("Hmm é.")}
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    assert messages(sealed, answer)[0]["reasoning_content"] == "Hmm é."
    assert messages(foreign, answer) == [answer]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "web_search_call", "id": "w"}, "input[0].type"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "king", "content": "Hi"}, "input[0].role"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        (
            {"role": "user", "content": [{"type": "input_file", "file_id": "f", "file_url": "u"}]},
            "input[0].content[0].file_id",
        ),
        ({"role": "user", "content": [{"type": "input_video"}]}, "input[0].content[0].video_url"),
        (
            {"role": "system", "content": [{"type": "input_image", "image_url": "x"}]},
            "input[0].content[0].image_url",
        ),
        ({"type": "function_call", "call_id": "c", "name": "f"}, "input[0].arguments"),
        ({"type": "function_call_output", "call_id": "x", "output": "1"}, "input[0].call_id"),
        ({"type": "item_reference", "id": "msg_x"}, "input[0].id"),
        ({"type": 3}, "input[0].type"),
    ],
)
def test_an_invalid_item_is_named(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages(item)
    assert caught.value.param == param


def new_id(prefix: str) -> str:
    return prefix + "new"


def test_listed_items_have_an_id_a_type_and_a_status() -> None:
    assert listed_item({"role": "user", "content": "Hi"}, new_id) == {
        "id": "msg_new",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "Hi"}],
    }
    assert listed_item({**CALL, "id": "fc_9"}, new_id)["id"] == "fc_9"
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "A"}]}
    assert listed_item(said, new_id)["content"][0]["annotations"] == []
    assert "status" not in listed_item({"type": "reasoning", "id": "rs_1"}, new_id)
