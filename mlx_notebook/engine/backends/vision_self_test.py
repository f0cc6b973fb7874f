"""A vision model tried before it is used: mlx-vlm has architectures that read a batch wrongly.

Some mask nothing but what they pad themselves, some scale embeddings only where they look them up.
Nobody would notice but by worse answers, so both are tried on a few tokens while loading.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.generate import PromptProcessingBatch

_LONG, _SHORT = [3, 4, 5, 6, 7, 8, 9, 10], [11, 12, 13]
_MOST = 0.15
"""How far a row's logits may lie apart in the mean, in standard deviations.

PaliGemma's padding, which is not masked, moves them by 0.39, Gemma 3n's missing scale by 0.58.
"""


def rows_keep_apart(model: Any, prompts_together: bool) -> bool:
    """Whether two rows of unequal length say in one batch what each says alone.

    Parameters
    ----------
    model
        A `SeeingModel`.
    prompts_together
        Whether prompts are computed in one batch too.
    """
    both = [_LONG, _SHORT]
    together = _next_logits(model, [both] if prompts_together else [[_LONG], [_SHORT]])
    alone = [_next_logits(model, [[prompt]]) for prompt in both]
    return alike(together, mx.concatenate(alone))


def alike(one: mx.array, other: mx.array) -> bool:
    """Whether logits, shape (..., vocabulary), are the same but for rounding."""
    apart = mx.abs(one - other).mean(axis=-1) / mx.maximum(mx.std(other, axis=-1), 1e-6)
    return bool(apart.max().item() < _MOST)


def _next_logits(model: Any, groups: list[list[list[int]]]) -> mx.array:
    """Logits after prompts, shape (rows, vocabulary), each group's prompts computed together."""
    batch: Any = None
    for prompts in groups:
        caches = [model.make_cache() for _ in prompts]
        part = PromptProcessingBatch(model, list(range(len(prompts))), caches)
        part.prompt([prompt[:-1] for prompt in prompts])
        if batch is None:
            batch = part
        else:
            batch.extend(part)
    last = [[prompt[-1]] for prompts in groups for prompt in prompts]
    logits = model(mx.array(last), cache=batch.prompt_cache)[:, -1]
    return mx.array(logits.astype(mx.float32))
