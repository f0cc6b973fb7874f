"""Perplexities through the engine's caches are those of the model itself."""

import math
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import load

from benchmarks.engine import quantized
from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT

TINY = Path(__file__).parents[2] / "mlx_notebook" / "demo_models" / EMBEDDED_DEFAULT

STORY = (
    "Once upon a time there was a dog and a child called Anna. The dog was happy. "
    "Anna found a lamp. The lamp was red. Then it began to rain. Anna went to sleep. "
    "In the morning the lamp was gone."
)
"""A text like those that the model knows: on others, small changes of its weights are large."""


def test_perplexities_are_those_of_one_pass_and_close_to_it_when_quantised(monkeypatch, tmp_path):
    short = tmp_path / "text.txt"
    short.write_text(STORY)
    monkeypatch.setattr(quantized, "TEXT", short)
    counted = 12
    found = quantized.perplexities(TINY, chunk=40, counted=counted)
    model, tokenizer = load(str(TINY))[:2]
    tokens = tokenizer.encode(short.read_text())
    logits = model(mx.array([tokens[:-1]]))[0, -counted:].astype(mx.float32)
    targets = mx.array(tokens[-counted:])
    losses = mx.logsumexp(logits, axis=-1) - mx.take_along_axis(logits, targets[:, None], -1)[:, 0]
    whole = math.exp(float(losses.mean()))
    for value in found["full precision"].values():
        assert value == pytest.approx(whole, rel=0.02)
    for way, allowed in (("8 bits", 0.02), ("4 bits", 0.2)):
        for how, value in found[way].items():
            full = found["full precision"][how]
            assert value == pytest.approx(full, rel=allowed)
            assert value != full


def test_the_report_shows_ratios_to_full_precision():
    quality = {"full precision": {"as a prompt": 10.0}, "8 bits": {"as a prompt": 10.5}}
    speed = [
        {"streams": 8, "way": "8 bits", "first": 0.2, "first_ratio": 1.1, "total": 50.0,
         "total_ratio": 0.9}
    ]  # fmt: skip
    text = quantized.render({"model": "m", "words": 454, "perplexity": quality, "speed": speed})
    assert "| 8 bits | 10.500, **1.0500** |" in text
    assert "| 8 | 8 bits | 200, **1.10** | 50.0, **0.90** |" in text
