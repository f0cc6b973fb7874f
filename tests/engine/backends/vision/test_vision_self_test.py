"""What a vision model is tried for: a batch that is read wrongly is noticed while loading."""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model

from mlx_notebook.engine.backends.vision.vision_self_test import alike, rows_keep_apart


class Mixing:
    """A model of which each row hears of the others."""

    def __init__(self, model: Any):
        self.model, self.make_cache = model, Plain(model).make_cache

    def __call__(self, inputs: mx.array, cache: Any) -> mx.array:
        logits = self.model(inputs, cache=cache)
        return logits + logits.mean(axis=0, keepdims=True)


class Plain:
    """A model as the trial takes it."""

    def __init__(self, model: Any):
        self.model = model

    def make_cache(self) -> list[Any]:
        from mlx_lm.models.cache import make_prompt_cache

        return list(make_prompt_cache(self.model))

    def __call__(self, inputs: mx.array, cache: Any) -> mx.array:
        return mx.array(self.model(inputs, cache=cache))


def test_rows_that_disturb_each_other_are_noticed(model: Path) -> None:
    whole, _ = load_model(model)
    for together in (True, False):
        assert rows_keep_apart(Plain(whole), together)
        assert not rows_keep_apart(Mixing(whole), together)


def test_rounding_is_no_difference() -> None:
    logits = mx.random.normal((2, 300)) * 5
    assert alike(logits, logits.astype(mx.bfloat16).astype(mx.float32))
    assert not alike(logits, logits * 2)
