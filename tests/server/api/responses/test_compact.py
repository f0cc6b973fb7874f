"""Compacted conversations, with the official client on a real server."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from mlx_notebook.server.wire.responses.response_items import SUMMARY
from mlx_notebook.server.wire.sealed_reasoning import seal, unseal
from tests.server.running import RunningServer

FIXED: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_output_tokens": 8}
FEW: dict[str, Any] = {"extra_body": {"max_output_tokens": 8}}
TALK: list[Any] = [
    {"role": "developer", "content": "Be short."},
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": "Hello Ada!"},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "nothing there"},
    {"role": "user", "content": "And now?"},
]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def test_a_summary_stands_for_what_the_model_has_said(
    client: openai.OpenAI, server: RunningServer
) -> None:
    compacted = client.responses.compact(model="tiny-chat", input=TALK, **FEW)
    assert compacted.object == "response.compaction"
    assert compacted.usage.output_tokens <= 8
    items = compacted.to_dict()["output"]
    assert isinstance(items, list)
    assert [item.get("role", item["type"]) for item in items] == [
        *("developer", "user", "user", "compaction")
    ]
    last: Any = compacted.output[-1]
    summary = unseal(last.encrypted_content)
    assert summary
    said = [*items, {"role": "user", "content": "Who am I?"}]
    response = client.responses.create(**FIXED, input=said)  # type: ignore[arg-type]
    trace = server.client.get(f"mlx/traces/{response.id}").json()
    assert f"{SUMMARY}\n\n{summary}" in trace["prompt"]
    kept = client.responses.input_items.list(response.id, order="asc").data
    assert [item.type for item in kept] == ["message"] * 3 + ["compaction", "message"]
    made = client.conversations.create(items=items)  # type: ignore[arg-type]
    assert client.conversations.items.list(made.id, order="asc").data[-1].type == "compaction"


def test_a_stored_conversation_is_compacted_and_stays(client: openai.OpenAI) -> None:
    first = client.responses.create(**FIXED, input="My name is Ada.")
    compacted = client.responses.compact(
        model="tiny-chat", previous_response_id=first.id, input="Well?", **FEW
    )
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    assert client.responses.retrieve(first.id).output == first.output


def test_a_summary_that_is_cut_off_says_so(server: RunningServer) -> None:
    body = {"model": "tiny-chat", "input": "Hello", "max_output_tokens": 1}
    compacted = server.client.post("v1/responses/compact", json=body).raise_for_status().json()
    assert compacted["status"] == "incomplete"
    assert compacted["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": TALK[:4]}, "call_without_output"),
        ({"input": None}, "missing_parameter"),
        ({"model": "short", "input": "word " * 200}, "context_length_exceeded"),
        ({"input": "Hi", "conversation": "conv_1"}, "unsupported_parameter"),
        ({"input": "Hi", "stream": True}, "unsupported_parameter"),
        ({"input": "Hi", "context_management": []}, ""),
    ],
)
def test_what_cannot_be_compacted_is_refused(
    server: RunningServer, body: dict[str, Any], code: str
) -> None:
    response = server.client.post("v1/responses/compact", json={"max_output_tokens": 4, **body})
    if code:
        assert response.json()["error"]["code"] == code, response.text
    else:
        assert response.headers["x-mlx-ignored-parameters"] == "context_management"


def test_only_summaries_of_this_server_are_read(server: RunningServer) -> None:
    other = {"type": "compaction", "encrypted_content": "gAAAA" + seal("x")}
    response = server.client.post("v1/responses", json={"input": [other]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unreadable_compaction"
    assert response.json()["error"]["param"] == "input[0].encrypted_content"
