"""Tests a vision model while it is loaded: some of mlx-vlm's architectures compute batches wrongly.

Some do not mask the padding of a batch, some scale only the embeddings that they look up
themselves. The answers would be worse and nobody would know why, so both are tested on a few
tokens.
"""

from typing import Any

import mlx.core as mx

from mlx_notebook.engine.kv_cache.batch_cache import BatchCache

_LONG, _SHORT = [3, 4, 5, 6, 7, 8, 9, 10], [11, 12, 13]
_MAX_DIFFERENCE = 0.15
"""Largest mean difference of a row's logits, in standard deviations.

PaliGemma's unmasked padding changes them by 0.39, Gemma 3n's missing scale by 0.58.
"""


def rows_keep_apart(model: Any, prompts_together: bool) -> bool:
    """Return whether two rows of unequal length give the same logits in a batch as alone.

    Parameters
    ----------
    model
        A `VisionModel`.
    prompts_together
        Whether prompts are computed in one batch too.
    """
    both = [_LONG, _SHORT]
    together = _next_logits(model, [both] if prompts_together else [[_LONG], [_SHORT]])
    alone = [_next_logits(model, [[prompt]]) for prompt in both]
    return alike(together, mx.concatenate(alone))


def alike(one: mx.array, other: mx.array) -> bool:
    """Return whether logits, shape (..., vocabulary), are equal except for rounding."""
    apart = mx.abs(one - other).mean(axis=-1) / mx.maximum(mx.std(other, axis=-1), 1e-6)
    return bool(apart.max().item() < _MAX_DIFFERENCE)


def _next_logits(model: Any, groups: list[list[list[int]]]) -> mx.array:
    """Return logits, shape (rows, vocabulary); the prompts of a group are computed together."""
    batch = BatchCache([])
    for prompts in groups:
        part = BatchCache([model.make_cache() for _ in prompts])
        counts = [len(prompt) - 1 for prompt in prompts]
        tokens = [prompt[:-1] + [0] * (max(counts) + 1 - len(prompt)) for prompt in prompts]
        part.feed(model, mx.array(tokens), counts)
        mx.eval(part.state)
        batch.extend(part)
    last = [[prompt[-1]] for prompts in groups for prompt in prompts]
    logits = batch.feed(model, mx.array(last), [1] * len(last))[:, -1]
    return mx.array(logits.astype(mx.float32))
