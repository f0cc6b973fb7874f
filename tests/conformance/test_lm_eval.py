"""The requests of lm-evaluation-harness, and the numbers that it reads from the answers.

The package is not needed: its requests are written out here. `local-completions` asks for the log
probabilities of prompts together with one more token, whose entry it drops.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest

import mlx_notebook
from tests.server.running import RunningServer

SCORED: dict[str, Any] = {
    "model": "tiny-chat",
    "temperature": 0,
    "max_tokens": 1,
    "logprobs": 1,
    "seed": 1234,
    "echo": True,
}
TEXTS = ["My name is Ada. What is my name? Your name is Ada.", "Say soup.", "ünïcode 😀 in a text"]
TINY = Path(mlx_notebook.__file__).parent / "demo_models" / "tiny-chat"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return mlx_lm.load(str(TINY))[1]


@pytest.fixture(scope="module")
def scores(tokenizer: Any) -> list[list[tuple[float, bool]]]:
    """What mlx-lm itself gives each token of each text after the first, and whether it is best."""
    model = mlx_lm.load(str(TINY))[0]
    model.set_dtype(mx.float32)
    told = []
    for text in TEXTS:
        ids = mx.array(tokenizer.encode(text))
        logits = model(ids[None])[0, :-1]
        values = mx.take_along_axis(
            logits - mx.logsumexp(logits, -1, keepdims=True), ids[1:, None], -1
        )
        best = mx.argmax(logits, -1) == ids[1:]
        told.append(list(zip(values[:, 0].tolist(), best.tolist(), strict=True)))
    return told


def read(choice: dict[str, Any]) -> list[tuple[float, bool]]:
    """Read log probabilities and greediness of the prompt's tokens as the harness does."""
    told = choice["logprobs"]
    values, tops = told["token_logprobs"][1:-1], told["top_logprobs"][1:-1]
    return [(value, value == max(top.values())) for value, top in zip(values, tops, strict=True)]


def complete(server: RunningServer, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.client.post("v1/completions", json=body).raise_for_status().json()
    return sorted(answer["choices"], key=lambda choice: choice["index"])


@pytest.mark.parametrize("tokenized", [True, False])
def test_a_batch_of_prompts_has_the_scores_of_mlx_lm(
    server: RunningServer, tokenizer: Any, scores: list[Any], tokenized: bool
) -> None:
    prompts = [tokenizer.encode(text) for text in TEXTS] if tokenized else TEXTS
    for choice, expected in zip(
        complete(server, {**SCORED, "prompt": prompts}), scores, strict=True
    ):
        told = read(choice)
        assert [value for value, _ in told] == pytest.approx([v for v, _ in expected], abs=2e-3)
        assert [best for _, best in told] == [best for _, best in expected]


@pytest.mark.parametrize("last", ["<|im_end|>", "<think>", "<tool_call>", "😀", "Hello"])
def test_each_token_has_an_entry_whatever_the_last_one_is(
    server: RunningServer, tokenizer: Any, last: str
) -> None:
    ids = tokenizer.encode(TEXTS[0])
    forced = {"allowed_token_ids": tokenizer.encode(last)[:1]}
    (choice,) = complete(server, {**SCORED, **forced, "prompt": [ids]})
    told = choice["logprobs"]
    assert len(told["token_logprobs"]) == len(ids) + 1
    assert {len(one) for one in told.values()} == {len(ids) + 1}


def test_texts_are_continued_in_a_batch_as_alone(server: RunningServer, tokenizer: Any) -> None:
    body = {
        "model": "tiny-chat",
        "max_tokens": 12,
        "temperature": 0,
        "seed": 1234,
        "stop": ["\n", "<|im_end|>"],
    }
    prompts = [tokenizer.encode(text) for text in TEXTS]
    together = [choice["text"] for choice in complete(server, {**body, "prompt": prompts})]
    alone = [complete(server, {**body, "prompt": [ids]})[0]["text"] for ids in prompts]
    assert together == alone
    assert not any("\n" in text for text in together)


def test_a_chat_is_answered_up_to_its_stops(server: RunningServer) -> None:
    answer = server.client.post(
        "v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": "Say soup"}],
            "model": "tiny-chat",
            "max_tokens": 12,
            "temperature": 0,
            "seed": 1234,
            "stop": ["\n", "\n\n", "."],
        },
    )
    assert answer.raise_for_status().json()["choices"][0]["message"]["content"] == "soup"
