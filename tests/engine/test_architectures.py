"""Models whose caches cannot simply be cut back: sliding windows and recurrent states."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.engine.test_generation import everything
from tests.tiny_models.models import gemma3, lfm2, qwen35

GREEDY = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 24}


def turns(engine: EngineProcess, name: str, path: Path) -> list[tuple[int, str]]:
    """Three turns of one conversation: cached tokens and answer of each."""
    messages, seen = [], []
    for question in ("What is the sea made of? " * 4, "And the sky?", "And all the rest?"):
        messages.append({"role": "user", "content": question})
        request = engine.start(name, path, protocol.ChatPrompt(messages=list(messages)), **GREEDY)
        (end,) = engine.finish(request)
        assert isinstance(end, protocol.Done), end
        seen.append((end.usage.cached, everything(engine, request)))
        messages.append({"role": "assistant", "content": f"answer {len(seen)}"})
    return seen


@pytest.mark.parametrize("make", [gemma3, lfm2, qwen35])
def test_a_conversation_reuses_its_past_and_answers_as_if_it_had_not(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path / "model")
    with running() as engine:
        warm = turns(engine, "model", path)
    with running(prefix_cache_bytes=1) as engine:
        cold = turns(engine, "model", path)
    assert [text for _, text in warm] == [text for _, text in cold]
    assert [cached for cached, _ in cold] == [0, 0, 0]
    assert warm[1][0] > 100
    assert warm[2][0] > warm[1][0]


@pytest.mark.parametrize("make", [gemma3, lfm2, qwen35])
def test_rows_of_different_lengths_decode_together_as_alone(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path / "model")
    prompts = ["short", "a somewhat longer question " * 3, "the longest question of all " * 9]
    with running() as engine:
        alone = []
        for prompt in prompts:
            request = engine.start("model", path, prompt, **GREEDY)
            engine.finish(request)
            alone.append(everything(engine, request))
    with running() as engine:
        together = [engine.start("model", path, prompt, **GREEDY) for prompt in prompts]
        engine.finish(*together)
        assert [everything(engine, request) for request in together] == alone


def test_n_rows_work_where_caches_cannot_be_trimmed(tmp_path: Path) -> None:
    path = lfm2(tmp_path / "model")
    with running() as engine:
        request = engine.start("model", path, "three", n=3, seed=1, temperature=1.0, max_tokens=9)
        (end,) = engine.finish(request)
        assert isinstance(end, protocol.Done), end
        assert len({everything(engine, request, row) for row in range(3)}) == 3
