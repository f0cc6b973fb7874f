"""Chat completions that are stored, through the official client."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.running import HELLO, RunningServer, running

SHORT: dict[str, Any] = {"model": "tiny-chat", "messages": HELLO, "temperature": 0, "max_tokens": 4}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> dict[str, str]:
    """Metadata of this test's own."""
    return {"test": request.node.name}


def test_a_completion_is_stored_read_marked_and_forgotten(
    client: openai.OpenAI, topic: dict[str, str]
) -> None:
    made = client.chat.completions.create(**SHORT, store=True, metadata=topic, seed=3, user="ann")
    assert made.metadata == topic
    found = client.chat.completions.retrieve(made.id)
    assert found.choices == made.choices
    assert found.usage == made.usage
    assert found.metadata == topic
    extra = found.model_extra or {}
    assert (extra["request_id"], extra["seed"], extra["input_user"]) == (made.id, 3, "ann")
    updated = client.chat.completions.update(made.id, metadata={"a": "b"})
    assert updated.metadata == {"a": "b"}
    assert client.chat.completions.retrieve(made.id).metadata == {"a": "b"}
    deleted = client.chat.completions.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    for gone in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            gone(made.id)
        assert caught.value.code == "completion_not_found"


def test_a_streamed_completion_is_stored_whole(
    client: openai.OpenAI, topic: dict[str, str]
) -> None:
    chunks = list(
        client.chat.completions.create(**SHORT, store=True, metadata=topic, stream=True, n=2)
    )
    text = "".join(c.delta.content or "" for k in chunks for c in k.choices if c.index == 1)
    found = client.chat.completions.retrieve(chunks[0].id)
    assert found.choices[1].message.content == text
    assert found.created == chunks[0].created
    assert found.usage is not None
    assert found.usage.completion_tokens > 0
    assert "store" not in (chunks[-1].model_extra or {})


def test_completions_are_listed_by_metadata_page_by_page(
    client: openai.OpenAI, topic: dict[str, str]
) -> None:
    made = [
        client.chat.completions.create(
            **SHORT, store=True, metadata={**topic, "odd": str(number % 2)}
        ).id
        for number in range(5)
    ]
    client.chat.completions.create(**SHORT)

    def listed(**query: Any) -> list[str]:
        return [each.id for each in client.chat.completions.list(**query)]

    assert listed(metadata=topic) == made
    assert listed(metadata=topic, limit=2) == made
    assert listed(metadata=topic, limit=2, order="desc") == made[::-1]
    assert listed(metadata={**topic, "odd": "1"}) == made[1::2]
    assert listed(metadata=topic, model="tiny-chat") == made
    assert listed(metadata=topic, model="other") == []
    assert listed(metadata={**topic, 'a"b': "x' OR 1=1"}) == []
    page = client.chat.completions.list(metadata=topic, limit=2, after=made[1])
    assert [each.id for each in page.data] == made[2:4]
    assert page.has_more


def test_the_messages_of_a_completion_are_listed(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Hm"},
        {"role": "user", "content": "Go on"},
    ]
    made = client.chat.completions.create(**{**SHORT, "messages": messages}, store=True)
    found = list(client.chat.completions.messages.list(made.id, limit=1))
    assert [message.id for message in found] == [f"{made.id}-{index}" for index in range(4)]
    assert [message.role for message in found] == ["system", "user", "assistant", "user"]
    assert [message.content for message in found] == ["Be short.", "one\ntwo", "Hm", "Go on"]
    assert found[1].to_dict()["content_parts"] == parts
    page = client.chat.completions.messages.list(made.id, order="desc", limit=2)
    assert [message.content for message in page.data] == ["Go on", "Hm"]


def test_a_call_and_its_arguments_are_stored(client: openai.OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
    }
    made = client.chat.completions.create(
        **{**SHORT, "max_tokens": 60}, tools=[tool], tool_choice="required", store=True
    )
    found = client.chat.completions.retrieve(made.id)
    assert found.choices[0].message.tool_calls == made.choices[0].message.tool_calls
    extra = found.model_extra or {}
    assert extra["tools"][0]["function"]["name"] == "now"
    assert extra["tool_choice"] == "required"


def test_what_was_not_to_be_stored_is_not(server: RunningServer, client: openai.OpenAI) -> None:
    for store in ({}, {"store": False}):
        made = client.chat.completions.create(**SHORT, **store)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(made.id)
    listed = server.chat(metadata={"a": "b"})
    assert listed.headers["x-mlx-ignored-parameters"] == "metadata"


def test_responses_and_completions_are_kept_apart(
    server: RunningServer, client: openai.OpenAI
) -> None:
    completion = client.chat.completions.create(**SHORT, store=True).id
    response = client.responses.create(model="tiny-chat", input="Hi", max_output_tokens=2).id
    for path in (f"v1/responses/{completion}", f"v1/chat/completions/{response}"):
        for method in ("GET", "DELETE"):
            assert server.client.request(method, path).status_code == 404
    body = {"input": "Hi", "previous_response_id": completion}
    refused = server.client.post("v1/responses", json=body)
    assert refused.json()["error"]["code"] == "previous_response_not_found"
    assert client.chat.completions.retrieve(completion).id == completion
    assert client.responses.retrieve(response).id == response


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order")],
)
def test_a_wrong_query_is_named(server: RunningServer, query: str, param: str) -> None:
    answer = server.client.get(f"v1/chat/completions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    strange = server.client.get("v1/chat/completions?limit=1&strange=1")
    assert strange.headers["x-mlx-ignored-parameters"] == "strange"
    wild = server.client.get("v1/chat/completions?a%0D%0Ab=1&%C3%A9=2")
    assert wild.status_code == 200
    assert wild.headers["x-mlx-ignored-parameters"].startswith("a\\x0d\\x0ab, ")
    assert server.client.get("v1/chat/completions?after=chatcmpl-x").status_code == 404


@pytest.mark.parametrize(
    "metadata", [{"a": 1}, {"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "" for n in range(17)}]
)
def test_metadata_has_limits(server: RunningServer, metadata: dict[str, Any]) -> None:
    refused = server.chat(store=True, metadata=metadata)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith("metadata")


def test_a_server_that_stores_nothing_says_so() -> None:
    with running(config={"MlxNotebookApp": {"responses_max_bytes": 0}}) as server:
        refused = server.chat(store=True)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert server.client.get("v1/chat/completions").json()["data"] == []
        assert server.client.get("v1/chat/completions/chatcmpl-x").status_code == 404
        assert server.chat().status_code == 200


def test_an_answer_that_cannot_be_kept_is_given_all_the_same() -> None:
    with running() as server:
        file = server.folder / "mlx_notebook" / "responses.sqlite3"
        body = {"messages": HELLO, "max_tokens": 300, "ignore_eos": True, "store": True}
        url = "v1/chat/completions"
        with server.client.stream("POST", url, json={**body, "stream": True}) as answer:
            # A server that is slow to load the model sends comments first.
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            first = json.loads(next(lines).removeprefix("data: "))
            file.unlink()
            file.mkdir()
            *_, last, done = lines
        assert done == "data: [DONE]"
        end = json.loads(last.removeprefix("data: "))
        assert end["choices"][0]["finish_reason"] == "length"
        assert end["store"] is False
        assert "cannot be used" in server.log
        refused = server.client.get(f"{url}/{first['id']}")
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert server.chat(store=True).json()["error"]["code"] == "store_unavailable"
        assert server.works()
        file.rmdir()
        kept = server.chat(store=True).json()["id"]
        assert server.client.get(f"{url}/{kept}").status_code == 200
