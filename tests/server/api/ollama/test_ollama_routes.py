import json
from typing import Any

import httpx
import pytest

from tests.server.running import HELLO, RunningServer


def post(server: RunningServer, route: str, **body: Any) -> httpx.Response:
    return server.client.post(f"mlx/ollama/api/{route}", json=body)


def test_an_embedding_model_generates_no_text_and_is_listed_as_one(server: RunningServer) -> None:
    refused = post(server, "generate", model="words", prompt="Hi")
    assert refused.status_code == 400
    assert "generates no text" in refused.json()["error"]
    assert post(server, "show", model="words").json()["capabilities"] == ["embedding"]


def test_long_texts_are_cut_unless_they_must_not_be(server: RunningServer) -> None:
    long = "word " * 100
    cut = post(server, "embed", model="words", input=[long]).json()
    assert cut["prompt_eval_count"] == 24
    refused = post(server, "embed", model="words", input=[long], truncate=False)
    assert refused.status_code == 400
    assert "error" in refused.json()
    assert len(post(server, "embeddings", model="words", prompt=long).json()["embedding"]) > 1


def test_without_a_text_the_embedding_model_is_only_loaded(server: RunningServer) -> None:
    assert post(server, "embed", model="words", input="").json()["embeddings"] == []
    assert post(server, "embeddings", model="words", prompt="").json() == {"embedding": []}
    running = server.client.get("mlx/ollama/api/ps").json()["models"]
    assert "words" in [model["name"] for model in running]


def test_an_error_in_a_stream_is_its_last_line(server: RunningServer) -> None:
    """A prompt that is too long is found by the engine, before the first line."""
    refused = post(server, "generate", model="short", prompt="Hi " * 200, raw=True)
    assert refused.status_code == 400
    assert set(json.loads(refused.text)) == {"error"}


@pytest.mark.parametrize(
    ("route", "body", "named"),
    [
        ("chat", {"messages": HELLO}, "model"),
        ("chat", {"model": ""}, "model"),
        ("chat", {"model": "short", "messages": [{"role": "robot"}]}, "messages"),
        ("chat", {"model": "short", "options": {"temperature": 9}}, "options.temperature"),
        ("generate", {"model": "short", "prompt": "Hi", "keep_alive": "soon"}, "keep_alive"),
        ("generate", {"model": "short", "prompt": "Hi", "width": 512}, "width"),
        ("show", {}, "model"),
        ("pull", {"model": "short", "insecure": True}, "insecure"),
        ("embed", {"model": "words", "input": ["a", ""]}, "input[1]"),
    ],
)
def test_what_is_wrong_is_named(
    server: RunningServer, route: str, body: dict[str, Any], named: str
) -> None:
    refused = post(server, route, **body)
    assert refused.status_code == 400
    assert f"'{named}" in refused.json()["error"]


def test_unknown_routes_and_verbs_answer_in_ollamas_format(server: RunningServer) -> None:
    assert set(post(server, "nonesuch").json()) == {"error"}
    wrong = server.client.get("mlx/ollama/api/chat")
    assert wrong.status_code == 405
    assert set(wrong.json()) == {"error"}


def test_jupyter_keeps_its_own_routes(server: RunningServer) -> None:
    assert "kernels" in server.client.get("api/status").json()
    assert server.client.get("api/tags").status_code == 404
