import base64
import math
import struct
from typing import Any

import openai
import pytest

from tests.server.running import RunningServer


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key=server.token)


def near(one: list[float], other: list[float]) -> float:
    """The cosine of two unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_texts_become_unit_vectors_in_their_order(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="tiny-chat", input=["a cat", "9 * 7", "a cat"])
    assert answer.object == "list"
    assert [item.index for item in answer.data] == [0, 1, 2]
    vectors = [item.embedding for item in answer.data]
    for vector in vectors:
        assert math.isclose(near(vector, vector), 1, rel_tol=1e-4)
    assert near(vectors[0], vectors[2]) > 0.9999 > near(vectors[0], vectors[1])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_numbers_and_base64_say_the_same(server: RunningServer) -> None:
    def embed(**options: Any) -> Any:
        body = {"input": "hello", **options}
        return server.client.post("v1/embeddings", json=body).json()["data"][0]["embedding"]

    numbers = embed()
    assert embed(encoding_format="float") == numbers
    data = base64.b64decode(embed(encoding_format="base64"))
    assert list(struct.unpack(f"<{len(numbers)}f", data)) == numbers


def test_fewer_dimensions_are_the_first_ones_made_a_unit_again(client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model="tiny-chat", input="hello").data[0].embedding
    short = client.embeddings.create(model="tiny-chat", input="hello", dimensions=8)
    vector = short.data[0].embedding
    assert len(vector) == 8
    assert math.isclose(near(vector, vector), 1, rel_tol=1e-4)
    assert math.isclose(vector[0] / whole[0], vector[7] / whole[7], rel_tol=1e-3)


def test_token_ids_give_the_vector_of_their_text(
    server: RunningServer, client: openai.OpenAI
) -> None:
    tokens = server.client.post(
        "tokenize", json={"content": "hello you", "model": "tiny-chat"}
    ).json()["tokens"]
    text = client.embeddings.create(model="tiny-chat", input="hello you").data[0].embedding
    one = client.embeddings.create(model="tiny-chat", input=tokens).data
    several = client.embeddings.create(model="tiny-chat", input=[tokens, tokens]).data
    assert len(one) == 1
    assert len(several) == 2
    assert near(one[0].embedding, text) > 0.9999
    assert near(several[1].embedding, text) > 0.9999


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [10**8]}, "input"),
        ({"input": "a", "dimensions": 10**6}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    server: RunningServer, body: dict[str, Any], param: str
) -> None:
    response = server.client.post("v1/embeddings", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
