"""Images among texts in the requests of each API: they keep their order, or are refused by name."""

import json
from typing import Any

import pytest

from mlx_notebook.protocol import EncodedImage
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic import messages_request
from mlx_notebook.server.wire.content import CheckedImage, ImageSource
from mlx_notebook.server.wire.conversation import with_ordered_tool_results
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import chat_request
from mlx_notebook.server.wire.responses.item_messages import ItemMessageBuilder
from mlx_notebook.server.wire.responses.response_items import typed_item, with_file_data

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def shown(given: str, where: str, detail: Any = "auto") -> dict[str, Any]:
    return {"type": "image", "source": ImageSource(given, where, detail)}


def chat_messages(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.dumps({"messages": messages}).encode()
    return decode(chat_request.DECODER, body).prompt().messages


def anthropic_messages(*messages: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    body = json.dumps({"messages": messages, "max_tokens": 9, **changes}).encode()
    return decode(messages_request.DECODER, body).prompt().messages


def response_messages(*items: dict[str, Any]) -> list[dict[str, Any]]:
    conversation = ItemMessageBuilder(None)
    for index, item in enumerate(items):
        conversation.add(typed_item(item, f"input[{index}]"), f"input[{index}]")
    return with_ordered_tool_results(conversation.messages)


def test_chat_completions_keep_texts_and_images_in_order() -> None:
    messages = chat_messages(
        {
            "role": "user",
            "content": [
                text("One"),
                text("two"),
                {"type": "image_url", "image_url": {"url": "A", "detail": "low"}},
                {"type": "image_url", "image_url": "B"},
                text(""),
                text("three"),
                {"type": "image_url", "image_url": {"url": "C", "detail": "original"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "image_url", "image_url": "D"}],
        },
    )
    assert messages[0]["content"] == [
        text("One\ntwo"),
        shown("A", "messages[0].content[2].image_url", "low"),
        shown("B", "messages[0].content[3].image_url"),
        text("\nthree"),
        shown("C", "messages[0].content[6].image_url", "high"),
    ]
    assert messages[2]["content"] == [shown("D", "messages[2].content[0].image_url")]


def test_reordered_tool_results_keep_their_images() -> None:
    calls = [{**CALL, "id": id} for id in ("c1", "c2")]
    messages = chat_messages(
        {"role": "user", "content": "Look twice."},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *(
            {
                "role": "tool",
                "tool_call_id": id,
                "content": [{"type": "image_url", "image_url": id}],
            }
            for id in ("c2", "c1")
        ),
    )
    assert [message["content"][0]["source"].given for message in messages[2:]] == ["c1", "c2"]


def test_responses_accept_images_from_users_and_functions() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    messages = response_messages(
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "A", "detail": "high"},
                {"type": "input_text", "text": "What is it?"},
            ],
        },
        call,
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_image", "image_url": "B"}],
        },
    )
    assert messages[0]["content"] == [
        shown("A", "input[0].content[0].image_url", "high"),
        text("What is it?"),
    ]
    assert messages[2]["content"] == [shown("B", "input[2].output[0].image_url")]


def test_anthropics_blocks_become_the_same_messages() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    there = {"type": "image", "source": {"type": "url", "url": "https://x/y"}}
    document = {"type": "content", "content": [text("page"), image]}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    messages = anthropic_messages(
        {"role": "user", "content": [image, text("Hi")]},
        {"role": "user", "content": [text("again"), there]},
        {"role": "assistant", "content": [use]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": True,
                    "content": [there, text("dark")],
                },
                {"type": "document", "title": "Book", "source": document},
            ],
        },
    )
    data = "data:image/png;base64,AA"
    assert messages[0]["content"] == [
        shown(data, "messages[0].content[0].source"),
        text("Hi\nagain"),
        shown("https://x/y", "messages[1].content[1].source"),
    ]
    assert messages[2]["content"] == [
        text("Error: "),
        shown("https://x/y", "messages[3].content[0].content[0].source"),
        text("dark"),
    ]
    assert messages[3]["content"] == [
        text("Book\npage"),
        shown(data, "messages[3].content[1].source.content[1].source"),
    ]


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_other_roles_cannot_have_images(role: str) -> None:
    part = {"type": "image_url", "image_url": {"url": "A"}}
    with pytest.raises(InvalidRequest, match="user messages and tool results") as caught:
        chat_messages({"role": role, "content": [text("See"), part]})
    assert caught.value.param == "messages[0].content[1].image_url"
    item = {"role": role, "content": [{"type": "input_image", "image_url": "A"}]}
    with pytest.raises(InvalidRequest, match=role) as caught:
        response_messages(item)
    assert caught.value.code == "unsupported_content"


def test_anthropics_system_prompt_cannot_have_images() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "A"}}
    with pytest.raises(InvalidRequest, match="system") as caught:
        anthropic_messages({"role": "user", "content": "Hi"}, system=[image])
    assert caught.value.param == "system[0].source"


def test_the_option_to_refuse_a_large_image_is_an_error() -> None:
    image = {
        "type": "image",
        "source": {"type": "url", "url": "A"},
        "transformations": {"oversized_image": "error"},
    }
    with pytest.raises(InvalidRequest) as caught:
        anthropic_messages({"role": "user", "content": [image]})
    assert caught.value.param == "messages[0].content[0].transformations.oversized_image"


def test_images_from_a_url_are_stored_with_the_conversation() -> None:
    def item(url: str) -> dict[str, Any]:
        part = {"type": "input_image", "image_url": url, "detail": "low"}
        return {"role": "user", "content": [{"type": "input_text", "text": "See"}, part]}

    where = "input[{}].content[1].image_url"
    images: list[EncodedImage] = [
        CheckedImage(
            data=b"png",
            where=where.format(at),
            media_type="image/png",
            width=1,
            height=1,
            digest="",
        )
        for at in range(3)
    ]
    items = [item("https://x/y"), item("data:,cG5n"), item("file:/x"), {"content": "Hi"}]
    kept = with_file_data(items, images, {})
    assert kept[1:2] + kept[3:] == items[1:2] + items[3:]
    assert kept[0] == item("data:image/png;base64,cG5n")
    assert kept[2] == kept[0]
