"""Steps and bursts are measured the same way for mlx-lm's batch and for the engine's."""

import argparse
from pathlib import Path

import mlx.core as mx
from mlx_lm.utils import load_model

from benchmarks.engine.steps import burst, measure
from tests.tiny_models.models import qwen3


def test_build_launch_and_wait_are_parts_of_a_step(tmp_path: Path) -> None:
    real = mx.async_eval
    model, _ = load_model(qwen3(tmp_path / "m"))
    options = argparse.Namespace(rounds=1, steps=6, prompt_tokens=20)
    found = measure(model, 3, options)
    assert mx.async_eval is real
    assert set(found) == {"mlx-lm", "engine"}
    for times in found.values():
        parts = [times[name] for name in ("build", "launch", "wait")]
        assert all(part > 0 for part in parts)
        assert max(parts) < times["step"]


def test_a_burst_ends_when_all_its_rows_have_all_their_tokens(tmp_path: Path) -> None:
    model, _ = load_model(qwen3(tmp_path / "m"))
    options = argparse.Namespace(rounds=2, burst=5, prompt_tokens=20)
    found = burst(model, 3, options)
    assert set(found) == {"mlx-lm", "engine"}
    for (one,) in found.values():
        assert 0 < one.first <= one.all_begun <= one.time
        assert one.processor > 0
        assert one.steps >= 5
