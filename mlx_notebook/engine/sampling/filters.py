"""Filters of the tokens that may be sampled, each for the whole batch at once.

They take scores of shape (rows, vocabulary) and set those of excluded tokens to minus infinity.
"""

import mlx.core as mx

from mlx_notebook.engine.sampling.batch_settings import BatchSettings

# XTC has its own random stream, so that it does not change the noise that samples the token.
_XTC_STREAM = 0x78746300
_uniform = mx.vmap(lambda key: mx.random.uniform(key=key))


def apply_top_filters(scores: mx.array, settings: BatchSettings) -> mx.array:
    """Apply top-p, min-p and top-k, with one threshold for each row."""
    size = scores.shape[-1]
    ordered = mx.sort(scores, axis=-1)
    probabilities = mx.softmax(ordered, axis=-1)
    above = mx.cumsum(probabilities, axis=-1, reverse=True, inclusive=False)
    dropped = (above >= settings.top_p).sum(axis=-1, keepdims=True)
    dropped = mx.minimum(dropped, size - 1)
    k = mx.where(settings.top_k > 0, mx.minimum(settings.top_k, size), size)
    first_kept = mx.maximum(dropped, size - k)
    threshold = mx.take_along_axis(ordered, first_kept, axis=-1)
    threshold = mx.maximum(threshold, ordered[:, -1:] + settings.log_min_p)
    return mx.where(scores < threshold, -mx.inf, scores)


def apply_typical_p(scores: mx.array, settings: BatchSettings) -> mx.array:
    """Keep the tokens whose information is closest to the entropy, up to `typical_p` in all.

    Locally typical sampling: https://arxiv.org/abs/2202.00666.
    """
    logprobs = scores - mx.logsumexp(scores, axis=-1, keepdims=True)
    probabilities = mx.exp(logprobs)
    possible = probabilities > 0
    entropy = -mx.where(possible, probabilities * logprobs, 0).sum(axis=-1, keepdims=True)
    distance = mx.where(possible, mx.abs(logprobs + entropy), mx.inf)
    order = mx.argsort(distance, axis=-1)
    mass = mx.cumsum(mx.take_along_axis(probabilities, order, axis=-1), axis=-1)
    last = (mass < settings.typical_p).sum(axis=-1, keepdims=True)
    last = mx.minimum(last, scores.shape[-1] - 1)
    farthest = mx.take_along_axis(mx.take_along_axis(distance, order, axis=-1), last, axis=-1)
    farthest = mx.where(settings.typical_p < 1, farthest, mx.inf)
    return mx.where(distance > farthest, -mx.inf, scores)


def apply_xtc(scores: mx.array, settings: BatchSettings) -> mx.array:
    """With `xtc_probability`, drop all tokens above a threshold except the least likely of them.

    As in llama.cpp and mlx-lm: https://github.com/oobabooga/text-generation-webui/pull/6335.
    """
    probabilities = mx.softmax(scores, axis=-1)
    above = probabilities > settings.xtc_threshold
    least = mx.where(above, probabilities, mx.inf).min(axis=-1, keepdims=True)
    drawn = _uniform(settings.keys ^ mx.array([_XTC_STREAM, 0], mx.uint32))[:, None]
    dropped = (drawn < settings.xtc_probability) & (probabilities > least)
    return mx.where(dropped, -mx.inf, scores)
