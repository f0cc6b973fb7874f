import json

import msgspec

from mlx_notebook import protocol
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import chat_response, stored_completion_types
from mlx_notebook.server.wire.openai.stored_completion_types import (
    StoredCompletion,
    stored_messages,
)
from tests.server.wire.smallest_requests import chat

USAGE = chat_response.CompletionUsage.of(protocol.Usage(3, 2, 0, 0))
ANSWER = chat_response.ChatCompletion(
    "chatcmpl-1",
    7,
    "tiny",
    [chat_response.ChatChoice(0, chat_response.ChatCompletionMessage("Hello"), "stop")],
    USAGE,
    "fp",
)


def test_a_stored_completion_has_the_answer_and_the_parameters_of_its_request() -> None:
    request = chat(
        temperature=0.5, seed=3, user="ann", metadata={"a": "b"}, store=True, max_tokens=9
    )
    stored = StoredCompletion.of(request, ANSWER)
    encoded = msgspec.json.encode(stored)
    assert decode(stored_completion_types.DECODER, encoded) == stored
    fields = json.loads(encoded)
    assert fields["request_id"] == fields["id"] == "chatcmpl-1"
    assert fields["choices"][0]["message"]["content"] == "Hello"
    assert (fields["temperature"], fields["seed"], fields["input_user"]) == (0.5, 3, "ann")
    assert fields["metadata"] == {"a": "b"}
    assert "max_tokens" not in fields


def test_a_stored_completion_without_metadata_has_an_empty_one() -> None:
    assert StoredCompletion.of(chat(store=True), ANSWER).metadata == {}


def test_stored_messages_have_ids_and_their_parts_beside_the_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    parts = [{"type": "text", "text": "One"}, image, {"type": "text", "text": "two"}]
    request = chat(
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}]
    )
    first, second = stored_messages("chatcmpl-1", request)
    assert first == {
        "id": "chatcmpl-1-0",
        "role": "system",
        "content": "Be kind.",
        "content_parts": None,
    }
    assert second["id"] == "chatcmpl-1-1"
    assert second["content"] == "One\ntwo"
    assert [part["type"] for part in second["content_parts"]] == ["text", "image_url", "text"]
