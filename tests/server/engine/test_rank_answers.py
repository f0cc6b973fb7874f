"""Two ranks answer as one does: the same texts, vectors and errors."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import qwen2

from tests.hub import TINY_CHAT
from tests.server.running import HELLO, RunningServer, running

LAYERS = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "rms_norm_eps": 1e-6,
    "vocab_size": 2048,
    "rope_theta": 10000.0,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "eos_token_id": 2019,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"enum": [1, 3, 7]}},
            "required": ["city", "days"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def schema(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": value, "strict": True}}


def said(text: str, **changes: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 20, "temperature": 0}
    return {**body, **changes}


CHATS: dict[str, dict[str, Any]] = {
    "greedy": said("Say hello to my cat."),
    "sampled": said("Tell me a story.", temperature=1, seed=7, max_tokens=30, ignore_eos=True),
    "several": said("Roll a die.", temperature=1, seed=3, n=3),
    "repeating": said("Say: a b c d a b c d a b c d", max_tokens=40, ignore_eos=True),
    "penalised": said("Count to ten.", repetition_penalty=1.3, ignore_eos=True),
    "schema": said("Who is Ada?", max_tokens=80, response_format=schema(PERSON)),
    "call": said("Weather in Rome?", max_tokens=80, tools=[WEATHER], tool_choice="required"),
    "long": said("word " * 700 + "?", ignore_eos=True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that cannot be divided, or only by layers."""
    folder = tmp_path_factory.mktemp("models")
    model = folder / "layers"
    shutil.copytree(TINY_CHAT, model, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    (model / "config.json").write_text(json.dumps(LAYERS))
    mx.random.seed(5)
    made = qwen2.Model(qwen2.ModelArgs.from_dict(LAYERS))
    weights = {name: 0.3 * mx.random.normal(w.shape) for name, w in tree_flatten(made.parameters())}
    mx.save_safetensors(str(model / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def started(models: Path, **settings: Any) -> Any:
    chosen = {"layers": {"division": "pipeline"}} if settings else {}
    return running(
        config={
            "MlxNotebookApp": {
                "models_dirs": [str(models)],
                "default_model": "tiny-chat",
                "model_settings": chosen,
                **settings,
            }
        }
    )


@pytest.fixture(scope="module")
def one(models: Path) -> Iterator[RunningServer]:
    with started(models) as server:
        yield server


@pytest.fixture(scope="module")
def two(models: Path) -> Iterator[RunningServer]:
    with started(models, ranks=2) as server:
        yield server


def ask(server: RunningServer, body: dict[str, Any]) -> Any:
    """Post a chat; return what the model wrote, without ids."""
    # Two ranks wait for each other many times a token, which takes long on a busy machine.
    answer = server.client.post("v1/chat/completions", json=body, timeout=280)
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    for choice in choices:
        for call in choice["message"].get("tool_calls") or []:
            call["id"] = ""
    return choices


def test_answers_together_are_the_same(one: RunningServer, two: RunningServer) -> None:
    expected = {name: ask(one, body) for name, body in CHATS.items()}
    with ThreadPoolExecutor(len(CHATS)) as pool:
        found = dict(zip(CHATS, pool.map(lambda body: ask(two, body), CHATS.values()), strict=True))
    assert found == expected


def test_a_model_divided_by_layers_answers_the_same(one: RunningServer, two: RunningServer) -> None:
    bodies = [
        {**body, "model": "layers", "ignore_eos": True}
        for name, body in CHATS.items()
        if name in ("greedy", "sampled", "repeating")
    ]
    expected = [ask(one, body) for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as pool:
        assert list(pool.map(lambda body: ask(two, body), bodies)) == expected
    # The model that was loaded before is still there.
    assert ask(two, CHATS["greedy"]) == ask(one, CHATS["greedy"])


def test_the_next_turn_uses_the_prefix_on_both_ranks(
    one: RunningServer, two: RunningServer
) -> None:
    words = " ".join(f"word{i}" for i in range(150))
    first = said(f"{words} first?", ignore_eos=True)
    turns = [*first["messages"], {"role": "assistant", "content": "Yes."}, *HELLO]
    results = []
    for server in (one, two):
        ask(server, first)
        second = server.client.post(
            "v1/chat/completions", json={**first, "messages": turns}, timeout=120
        ).json()
        results.append((second["choices"], second["usage"]["prompt_tokens_details"]))
    assert results[0] == results[1]
    assert results[1][1]["cached_tokens"] > 150


def test_vectors_and_log_probabilities_are_the_same(one: RunningServer, two: RunningServer) -> None:
    texts = ["A short text.", "Another text, of some more words."]
    vectors, scores = [], []
    for server in (one, two):
        body: dict[str, Any] = {"model": "tiny-chat", "input": texts}
        answer = server.client.post("v1/embeddings", json=body).raise_for_status().json()
        vectors.append([item["embedding"] for item in answer["data"]])
        body = {"model": "tiny-chat", "prompt": texts[0], "echo": True, "logprobs": 1}
        body |= {"max_tokens": 4, "temperature": 0}
        answer = server.client.post("v1/completions", json=body).raise_for_status().json()
        scores.append(answer["choices"][0]["logprobs"]["token_logprobs"][1:])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_a_client_that_leaves_leaves_both_ranks_idle(two: RunningServer) -> None:
    body = said("Talk!", max_tokens=3000, ignore_eos=True, stream=True)
    url = f"{two.openai_url}/chat/completions"
    with httpx.stream("POST", url, headers=two.headers, json=body, timeout=60) as response:
        next(response.iter_lines())
    two.wait_until_idle()
    assert two.works()


def test_a_model_is_gone_from_both_ranks_when_it_is_unloaded(two: RunningServer) -> None:
    assert two.works()
    assert two.client.post("mlx/models/unload", json={"model": "tiny-chat"}).status_code == 200
    assert "tiny-chat" not in [model["id"] for model in two.status()["models"]]
    assert two.works()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"draft": "layers"}, "a model with draft runs on one rank only"),
        ({"division": "pipeline"}, "its division is set to pipeline, but mlx-lm cannot divide"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    two: RunningServer, settings: dict[str, Any], reason: str
) -> None:
    url = "mlx/models/tiny-chat/settings"
    assert two.client.put(url, json=settings).status_code == 200
    try:
        answer = two.chat(model="tiny-chat")
        assert answer.status_code == 503, answer.text
        assert reason in answer.json()["error"]["message"]
    finally:
        assert two.client.put(url, json={}).status_code == 200
    assert two.works()


def test_a_vision_model_is_refused(two: RunningServer) -> None:
    answer = two.chat(model="tiny-vision")
    assert "vision models run on one rank only" in answer.json()["error"]["message"]
    assert two.works()
