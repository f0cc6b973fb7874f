"""Conversations of `v1/conversations`, with the official client on a real server."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.running import RunningServer, wait_for

FIXED: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_output_tokens": 16}
LONG = {"model": "tiny-chat", "max_output_tokens": 3000, "extra_body": {"ignore_eos": True}}
NAME = {"role": "user", "content": "My name is Ada."}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def roles(client: openai.OpenAI, id: str) -> list[str]:
    return [getattr(item, "role", item.type) for item in client.conversations.items.list(id)]


def test_responses_read_and_extend_a_conversation(client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[NAME], metadata={"topic": "names"})  # type: ignore[list-item]
    type(made).model_validate(made.to_dict())
    asked: dict[str, Any] = {**FIXED, "conversation": made.id}
    counted = client.responses.input_tokens.count(
        model="tiny-chat", conversation=made.id, input="What is my name?"
    )
    question = {"role": "user", "content": "What is my name?"}
    said = client.responses.create(**FIXED, input=[NAME, question]).output_text  # type: ignore[list-item]
    response = client.responses.create(**asked, input="What is my name?")
    assert response.conversation is not None
    assert response.conversation.id == made.id
    assert response.output_text == said
    assert response.usage is not None
    assert response.usage.input_tokens == counted.input_tokens
    assert roles(client, made.id) == ["assistant", "user", "user"]
    reference: dict[str, Any] = {**FIXED, "conversation": {"id": made.id}, "store": False}
    with client.responses.stream(**reference, input="And again?") as stream:
        last = stream.get_final_response()
    assert last.conversation is not None
    assert roles(client, made.id) == ["assistant", "user"] * 2 + ["user"]
    with pytest.raises(openai.BadRequestError, match="Send 'conversation'"):
        client.responses.create(**FIXED, input="So?", previous_response_id=response.id)
    client.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(**asked, input="What is my name?")
    assert (caught.value.code, caught.value.param) == ("conversation_not_found", "conversation")
    # A response that is stored by itself stays.
    assert client.responses.retrieve(response.id).output_text == said


def test_items_are_added_read_and_deleted(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    added = client.conversations.items.create(made.id, items=[NAME, NAME])  # type: ignore[list-item]
    type(added).model_validate(added.to_dict())
    first, second = added.data
    assert client.conversations.items.retrieve(first.id or "", conversation_id=made.id) == first
    page = client.conversations.items.list(made.id, limit=1, order="asc")
    assert [item.id for item in page] == [first.id, second.id]
    left = client.conversations.items.delete(first.id or "", conversation_id=made.id)
    assert left.id == made.id
    assert [item.id for item in client.conversations.items.list(made.id)] == [second.id]
    changed = client.conversations.update(made.id, metadata={"a": "b"})
    assert changed.metadata == {"a": "b"}
    reference: Any = {"type": "item_reference", "id": second.id}
    other = client.conversations.create(items=[reference])
    assert [item.id for item in client.conversations.items.list(other.id)] == [second.id]


def test_a_conversation_has_one_response_at_a_time(
    client: openai.OpenAI, server: RunningServer
) -> None:
    made = client.conversations.create()
    asked: dict[str, Any] = {"input": "Hello", "conversation": made.id}
    running = client.responses.create(**LONG, **asked, background=True)
    with pytest.raises(openai.ConflictError) as caught:
        client.responses.create(**FIXED, **asked)
    assert caught.value.code == "conversation_locked"
    client.responses.cancel(running.id)
    # What was cancelled is not part of it.
    assert roles(client, made.id) == []
    ended = client.responses.create(**FIXED, **asked, background=True)
    wait_for(lambda: client.responses.retrieve(ended.id).status == "completed", 60)
    assert roles(client, made.id) == ["assistant", "user"]
    server.wait_until_idle()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("v1/responses", {"input": "Hi", "conversation": 3}, "conversation"),
        (
            "v1/responses",
            {"input": "Hi", "conversation": "conv_1", "previous_response_id": "resp_1"},
            "conversation",
        ),
        ("v1/conversations", {"items": [{"role": "user"}]}, "items[0].content"),
        ("v1/conversations", {"items": [NAME] * 21}, "items"),
        ("v1/conversations", {"items": [{"id": "msg_none"}]}, "items[0].id"),
        ("v1/conversations", {"metadata": {"a": 1}}, "metadata"),
    ],
)
def test_what_is_wrong_is_named(
    server: RunningServer, path: str, body: dict[str, Any], param: str
) -> None:
    response = server.client.post(path, json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_call_without_its_output_is_told_where_it_stands(server: RunningServer) -> None:
    output = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    made = server.client.post("v1/conversations", json={"items": [output]}).json()
    response = server.client.post("v1/responses", json={"conversation": made["id"], "input": "?"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unknown_call_id"
    assert response.json()["error"]["param"].startswith("conversation")
