import base64
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.server.running import HELLO, RunningServer, wait_for


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token) as made:
        yield made


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


def test_a_text_has_the_same_vector_whatever_is_embedded_beside_it(client: openai.OpenAI) -> None:
    texts = ["a cat", "a", "how much is 9 * 7?"]
    for model in ("tiny-chat", "words", "org/embedding"):
        together = client.embeddings.create(model=model, input=texts)
        alone = [client.embeddings.create(model=model, input=text) for text in texts]
        for item, single in zip(together.data, alone, strict=True):
            assert near(item.embedding, single.data[0].embedding) > 0.99999
        counts = [single.usage.prompt_tokens for single in alone]
        assert together.usage.prompt_tokens == sum(counts)


@pytest.mark.parametrize(("name", "pooling"), [("words", "cls"), ("org/embedding", "lasttoken")])
def test_an_embedding_model_gives_the_librarys_own_vectors(
    client: openai.OpenAI, models_dir: Path, name: str, pooling: str
) -> None:
    import mlx.core as mx
    from mlx_vlm.embedding_loader import load_embedding_model
    from transformers import AutoTokenizer

    library = load_embedding_model(models_dir / name)
    library.pooling_config = {"pooling_mode": pooling}
    tokenizer = AutoTokenizer.from_pretrained(models_dir / name)
    texts = ["a cat", "a", "9 times 7"]
    answer = client.embeddings.create(model=name, input=texts)
    for text, item in zip(texts, answer.data, strict=True):
        expected = library(mx.array([tokenizer.encode(text)])).text_embeds[0].tolist()
        assert item.embedding == pytest.approx(expected, abs=1e-4)
    assert answer.model == name
    assert answer.usage.prompt_tokens == sum(len(tokenizer.encode(text)) for text in texts)


def test_an_embedding_model_is_loaded_listed_and_unloaded_like_any_other(
    server: RunningServer, client: openai.OpenAI
) -> None:
    def listed() -> Any:
        models = server.client.get("mlx/models").json()["models"]
        return next(model for model in models if model["id"] == "words")

    default = client.models.list().data[0].id
    loaded = server.client.post("mlx/models/load", json={"model": "words"}).json()
    wait_for(lambda: listed()["state"] == "resident", 10)
    model = listed()
    assert model["capabilities"] == ["embeddings"]
    assert model["memory_bytes"] == loaded["bytes"] > 10_000
    assert model["context_length"] == 24
    assert client.models.list().data[0].id == default
    freed = server.client.post("mlx/models/unload", json={"model": "words"}).json()["freed"]
    assert freed > 10_000
    wait_for(lambda: listed()["state"] == "available", 10)
    model = listed()
    assert (model["memory_bytes"], model["context_length"]) == (loaded["bytes"], 24)


def test_a_text_that_is_too_long_is_refused_by_its_place_with_figures(
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="words", input=["a cat", "a" * 40, "a" * 50])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input[1]"
    assert "Input 1 has 42 tokens, and words takes 24 at most." in caught.value.message


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("v1/chat/completions", {"messages": HELLO}),
        ("v1/chat/completions", {"messages": HELLO, "stream": True}),
        ("v1/responses", {"input": "Hello!"}),
        ("v1/completions", {"prompt": "Hello"}),
        ("v1/messages", {"messages": HELLO, "max_tokens": 4}),
        ("v1/messages/count_tokens", {"messages": HELLO}),
        ("apply-template", {"messages": HELLO}),
    ],
)
def test_an_embedding_model_is_asked_for_no_text(
    server: RunningServer, route: str, body: dict[str, Any]
) -> None:
    response = server.client.post(route, json={**body, "model": "words"})
    assert response.status_code == 400, response.text
    message = response.json()["error"]["message"]
    assert "'words' is for v1/embeddings and generates no text" in message
    assert "tiny-chat" in message
    assert "org/embedding" not in message


def test_the_tokens_of_an_embedding_model_are_shown(server: RunningServer) -> None:
    body = {"model": "words", "content": "a b", "with_pieces": True, "add_special": True}
    tokens = server.client.post("tokenize", json=body).json()["tokens"]
    assert [token["piece"] for token in tokens] == ["[CLS]", "a", "b", "[SEP]"]


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
