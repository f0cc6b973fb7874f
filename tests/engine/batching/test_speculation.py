"""Speculative decoding changes the speed of a single request, and nothing of its text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from mlx_notebook import protocol
from mlx_notebook.engine.batching.prefill_policy import (
    PrefillLimits,
    PrefillPolicy,
    PrefillSpeed,
)
from mlx_notebook.engine.batching.row_generator import RowGenerator
from mlx_notebook.engine.batching.speculation import Speculation
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.speculative.drafts import DraftModel
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import gemma3, qwen3

TINY = Path(protocol.__file__).parents[1] / "demo_models" / "tiny-chat"
REPETITIVE = "one two three, one two three, one two three, one two"


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with running(max_resident=8) as process:
        yield process


class Asked:
    """One way of loading the same model, and requests to it."""

    def __init__(
        self, engine: EngineProcess, name: str, path: Path, options: protocol.ModelOptions
    ):
        self.engine, self.name, self.path, self.options = engine, name, path, options
        self._count = 0

    def start(self, text: str, n: int = 1, **sampling: Any) -> str:
        self._count += 1
        request = f"{self.name}{self._count}"
        self.engine.send(
            protocol.Generate(
                id=request,
                model=self.name,
                path=str(self.path),
                options=self.options,
                prompt=protocol.ChatPrompt(messages=[{"role": "user", "content": text}]),
                sampling=protocol.Sampling(**{"max_tokens": 60, "ignore_eos": True, **sampling}),
                n=n,
            )
        )
        return request

    def text(self, text: str, **sampling: Any) -> str:
        request = self.start(text, **sampling)
        (end,) = self.engine.finish(request)
        assert isinstance(end, protocol.Done), end
        return self.engine.text(request)


@pytest.fixture(scope="module")
def ways(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    folder = tmp_path_factory.mktemp("drafts")
    model, other = qwen3(folder / "model"), qwen3(folder / "other", seed=5)
    options = {
        "plain": protocol.ModelOptions(),
        "itself": protocol.ModelOptions(draft=str(model)),
        "other": protocol.ModelOptions(draft=str(other)),
        "lookup": protocol.ModelOptions(prompt_lookup=6),
        "both": protocol.ModelOptions(prompt_lookup=4, draft=str(model)),
    }
    return {name: Asked(engine, name, model, option) for name, option in options.items()}


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.9, "seed": 11, "top_p": 0.9, "top_k": 40},
    {"temperature": 0.0, "max_tokens": 1},
    {"temperature": 0.0, "max_tokens": 2},
    {"temperature": 0.0, "repetition_penalty": 1.3},
    {"temperature": 0.7, "seed": 3, "logit_bias": {65: 5.0}, "min_tokens": 3},
]


@pytest.mark.parametrize("way", ["itself", "other", "lookup", "both"])
def test_the_text_is_the_same_greedy_and_sampled(ways: dict[str, Asked], way: str) -> None:
    for settings in SETTINGS:
        for prompt in ("Tell me something", REPETITIVE * 3):
            assert ways[way].text(prompt, **settings) == ways["plain"].text(prompt, **settings)


def test_a_stop_text_ends_a_row_among_the_tokens_of_a_step(ways: dict[str, Asked]) -> None:
    whole = ways["plain"].text("Where to stop?", temperature=0.0)
    for place in range(5, 25):
        stop = whole[place : place + 2]
        expected = whole[: whole.index(stop)]
        assert ways["itself"].text("Where to stop?", temperature=0.0, stop=[stop]) == expected


def test_the_kv_cache_of_a_speculative_row_is_reused(ways: dict[str, Asked]) -> None:
    for tokens in range(20, 28):
        first = ways["itself"].text("Go on and on", temperature=0.0, max_tokens=tokens)
        assert first == ways["plain"].text("Go on and on", temperature=0.0, max_tokens=tokens)
    assert ways["itself"].text("Go on and on. And then?", temperature=0.0) == ways["plain"].text(
        "Go on and on. And then?", temperature=0.0
    )


def test_a_second_row_ends_the_speculation_and_both_texts_stay_the_same(
    ways: dict[str, Asked],
) -> None:
    prompts = ["The first stream is long", "The second one is short"]
    options: list[dict[str, Any]] = [
        {"temperature": 0.0, "max_tokens": 400},
        {"temperature": 0.0, "max_tokens": 20},
    ]
    alone = [ways["plain"].text(p, **o) for p, o in zip(prompts, options, strict=True)]
    way = ways["itself"]
    first = way.start(prompts[0], **options[0])
    way.engine.wait(lambda e: isinstance(e, protocol.Text) and e.id == first)
    second = way.start(prompts[1], **options[1])
    way.engine.finish(first, second)
    assert [way.engine.text(first), way.engine.text(second)] == alone


def test_rows_of_one_request_are_the_same_rows(ways: dict[str, Asked]) -> None:
    texts = []
    for name in ("plain", "itself"):
        request = ways[name].start("n rows", n=3, temperature=1.0, seed=4, max_tokens=30)
        ways[name].engine.finish(request)
        texts.append([ways[name].engine.text(request, row) for row in range(3)])
    assert texts[0] == texts[1]


def test_a_good_draft_gives_several_tokens_a_step(model: Path) -> None:
    large, _ = load_model(model)
    policy = PrefillPolicy(PrefillLimits(), PrefillSpeed(1000))
    generator = RowGenerator(large, policy, 1, lambda: make_prompt_cache(large))
    generator.speculate(Speculation(DraftModel(large, 1000, 512), 0))
    prompt = [5, 6, 7, 8, 9]
    generator.insert(
        [prompt], Row(), cache=make_prompt_cache(large), tokens=[], max_tokens=40, ends=()
    )
    found: list[int] = []
    steps = 0
    while len(generator):
        _, new = generator.next()
        found.extend(token.token for token in new)
        steps += bool(new)
    assert steps <= 8
    greedy = list(prompt)
    while len(greedy) < 45:
        greedy.append(int(mx.argmax(large(mx.array([greedy]))[0, -1]).item()))
    assert found == greedy[5:]


def test_cancelling_a_speculative_row_leaves_the_engine_idle(ways: dict[str, Asked]) -> None:
    way = ways["both"]
    for _ in range(5):
        request = way.start("cancel me", temperature=0.0, max_tokens=500)
        way.engine.wait(lambda e, r=request: isinstance(e, protocol.Text) and e.id == r)
        way.engine.send(protocol.Cancel(request))
    assert way.text("still there", temperature=0.0) == ways["plain"].text(
        "still there", temperature=0.0
    )


def failure(engine: EngineProcess, path: Path, options: protocol.ModelOptions) -> str:
    request = Asked(engine, f"refused{options}", path, options).start("hi")
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Failed)
    assert end.code == "model_load_failed"
    assert "\n" not in end.message
    return end.message


def test_a_draft_of_another_vocabulary_is_refused(engine: EngineProcess, model: Path) -> None:
    assert "another vocabulary" in failure(engine, model, protocol.ModelOptions(draft=str(TINY)))


def test_a_draft_that_cannot_be_loaded_is_refused(
    engine: EngineProcess, model: Path, tmp_path: Path
) -> None:
    draft = qwen3(tmp_path / "draft")
    (draft / "config.json").write_text('{"model_type": "nonesuch"}')
    message = failure(engine, model, protocol.ModelOptions(draft=str(draft)))
    assert "draft model" in message
    assert "cannot be loaded" in message


def test_speculation_is_refused_for_a_model_whose_caches_cannot_be_cut(
    engine: EngineProcess, tmp_path: Path
) -> None:
    path = gemma3(tmp_path / "gemma")
    assert "cannot be cut back" in failure(engine, path, protocol.ModelOptions(prompt_lookup=4))
