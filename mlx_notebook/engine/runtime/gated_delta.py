"""The gated delta rule with matrix products, for devices without Metal.

mlx-lm and mlx-vlm have Metal kernels for the linear attention of Qwen3-Next, Qwen3.5, Kimi Linear
and others. On other devices they go through a prompt token by token. `mx.fast.gated_delta_update`
does the same there, in C++. This module computes a chunk of tokens at once: the same result within
rounding.

Each head has a state S, shape (value width, key width). For every token it becomes
`S = S g; S = S + beta (v - S k) k^T`, and the output is `S q`.

The chunked form is from https://arxiv.org/abs/2412.06464, section 3.3.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx

log = logging.getLogger(__name__)

_FUNCTIONS = (
    ("mlx_lm.models.gated_delta", "gated_delta_ops", True),
    ("mlx_vlm.models.gated_delta", "gated_delta_ops", True),
    ("mlx_vlm.models.qwen3_5.gated_delta", "gated_delta_ops", True),
    ("mlx_vlm.models.qwen3_5.gated_delta", "gated_delta_chunked", False),
)
"""The functions that go token by token: module, name, and whether a gate may be a vector.

mlx-vlm's `gated_delta_chunked` computes chunks too. But it pads every prompt to 64 tokens, solves
each chunk row by row, and does not let a gate be less than 1e-6.
"""

_CHUNKED_FROM = 8
"""Shorter inputs are computed token by token: guessed tokens and single ones."""

_MOST_TOKENS = 2048
"""Tokens, of all rows together, whose products are in memory at the same time."""


_NEGLIGIBLE = 1e-12
"""Smaller factors within a chunk become 0. Products of them would not be normal numbers, with which
a CPU computes ten times as slowly. Beside the factors of the newest tokens they change nothing."""


def replace_token_loops() -> None:
    """Replace the functions of the imported libraries that go token by token, except on Metal.

    A function is replaced if `update` gives the same result for a few tokens. Call this after a
    model's classes are imported and before the model is used.
    """
    if mx.metal.is_available():
        return
    for module_name, name, vectors in _FUNCTIONS:
        module = sys.modules.get(module_name)
        original = getattr(module, name, None)
        if original is None or hasattr(original, "replaces"):
            continue
        difference = _difference(original, vectors)
        if difference <= _tolerance():
            setattr(module, name, _replacement(original))
            log.info("%s.%s is replaced by matrix products", module_name, name)
        else:
            log.warning(
                "%s.%s stays, token by token: matrix products differ by %.1e of the largest value",
                *(module_name, name, difference),
            )


def _replacement(original: Callable[..., Any]) -> Callable[..., Any]:
    def gated_delta(
        q: mx.array,
        k: mx.array,
        v: mx.array,
        g: mx.array,
        beta: mx.array,
        state: mx.array | None = None,
        mask: mx.array | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        # mlx-vlm can ask for the states between the tokens.
        if options or any(one is not None for one in more):
            return original(q, k, v, g, beta, state, mask, *more, **options)
        return update(q, k, v, g, beta, state, mask)

    gated_delta.replaces = original  # type: ignore[attr-defined]
    return gated_delta


def update(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    g: mx.array,
    beta: mx.array,
    state: mx.array | None = None,
    mask: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """Apply the gated delta rule to the tokens of some rows.

    Parameters
    ----------
    q, k
        Queries and keys, shape (B, T, key heads, key width).
    v
        Values, shape (B, T, heads, value width). Each key head serves adjacent heads.
    g
        Gates, shape (B, T, heads) or (B, T, heads, key width).
    beta
        Shape (B, T, heads).
    state
        Shape (B, heads, value width, key width); zeros by default.
    mask
        Shape (B, T). A token where it is false changes no state, and its output has no meaning.

    Returns
    -------
    output, state
        The output has the shape of `v` and the type of `q`. The state is in fp32.
    """
    batch, length, key_heads, key_width = q.shape
    heads, value_width = v.shape[-2:]
    if g.ndim == 3:
        g = g[..., None]
    beta = beta[..., None]
    if mask is not None:
        counts = mask[..., None, None]
        g, beta = mx.where(counts, g, 1), mx.where(counts, beta, 0)
    shape = batch, key_heads, heads // key_heads, value_width, key_width
    now = mx.zeros(shape) if state is None else state.reshape(shape).astype(mx.float32)
    inputs = [_by_head(array, key_heads) for array in (q, k, v, g, beta)]
    outputs = []
    if length < _CHUNKED_FROM:
        for token in range(length):
            one = [array[..., token : token + 1, :] for array in inputs]
            output, now = _step(now, *one)
            outputs.append(output)
    else:
        chunk = _chunk(length)
        part = max(1, _MOST_TOKENS // (batch * chunk)) * chunk
        for begin in range(0, length, part):
            some = [array[..., begin : begin + part, :] for array in inputs]
            for within in _chunks(chunk, *some):
                output, now = _next_chunk(now, *within)
                outputs.append(output)
    joined = mx.concatenate(outputs, axis=-1)[..., :length]
    output = joined.transpose(0, 4, 1, 2, 3).reshape(v.shape).astype(q.dtype)
    return output, now.reshape(batch, heads, value_width, key_width)


def _by_head(array: mx.array, key_heads: int) -> mx.array:
    """Return (B, T, heads, D) as (B, key heads, heads per key head, T, D) in fp32."""
    batch, length, _, width = array.shape
    grouped = array.reshape(batch, length, key_heads, -1, width)
    return grouped.transpose(0, 2, 3, 1, 4).astype(mx.float32)


def _step(
    state: mx.array, q: mx.array, k: mx.array, v: mx.array, g: mx.array, beta: mx.array
) -> tuple[mx.array, mx.array]:
    """Apply the rule to one token: rows of one vector each. Return a column and the new state."""
    state = state * g
    delta = beta * (v.swapaxes(-1, -2) - state @ k.swapaxes(-1, -2))
    state = state + delta * k
    return state @ q.swapaxes(-1, -2), state


def _chunk(length: int) -> int:
    """Return the tokens of a chunk: a power of two.

    On a CPU, more than 16 make the products within a chunk dominate. A GPU is slowed down by the
    number of kernels.
    """
    most = 16 if mx.default_device() == mx.cpu else 64
    return min(most, 1 << (length - 1).bit_length())


def _chunks(
    size: int, q: mx.array, k: mx.array, v: mx.array, g: mx.array, beta: mx.array
) -> list[list[mx.array]]:
    """Return what `_next_chunk` needs for each chunk: all that does not depend on the state.

    Within a chunk, let `decay[i, j]` be the product of the gates after token j up to token i. The
    token i adds `delta_i k_i^T` to the state, and the deltas solve a system of equations:
    `delta_i + beta_i sum_{j<i} decay[i, j] (k_i k_j) delta_j = beta_i (v_i - S decay[i, 0] k_i)`.
    """
    length = v.shape[-2]
    padding = -length % size
    q, k, v, beta = (_padded(array, padding, 0) for array in (q, k, v, beta))
    g = _padded(g, padding, 1)
    count = (length + padding) // size
    q, k, v, g, beta = (
        array.reshape(*array.shape[:3], count, size, array.shape[-1])
        for array in (q, k, v, g, beta)
    )
    inverse, reads, since_begin, to_end = _within_chunks(q, k, g, beta)
    shape = *v.shape[:-1], k.shape[-1]
    keys = mx.broadcast_to(since_begin * k, shape)
    solved = inverse @ (beta * mx.concatenate([keys, v], axis=-1))
    known, values = solved[..., : shape[-1]], solved[..., shape[-1] :]
    queries = mx.broadcast_to(since_begin * q, shape)
    of_state = mx.concatenate([known, queries], axis=-2).swapaxes(-1, -2)
    of_deltas = mx.concatenate(
        [reads.swapaxes(-1, -2), mx.broadcast_to(to_end * k, shape)], axis=-1
    )
    decay = since_begin[..., -1:, :]
    parts = (values.swapaxes(-1, -2), of_state, of_deltas, decay)
    return [[part[:, :, :, index] for part in parts] for index in range(count)]


def _padded(array: mx.array, padding: int, value: int) -> mx.array:
    if not padding:
        return array
    return mx.pad(array, [(0, 0), (0, 0), (0, 0), (0, padding), (0, 0)], constant_values=value)


def _next_chunk(
    state: mx.array, values: mx.array, of_state: mx.array, of_deltas: mx.array, decay: mx.array
) -> tuple[mx.array, mx.array]:
    """Return the outputs of a chunk, shape (..., value width, size), and the state after it."""
    size = values.shape[-1]
    read = state @ of_state
    deltas = values - read[..., :size]
    written = deltas @ of_deltas
    return read[..., size:] + written[..., :size], decay * state + written[..., size:]


def _within_chunks(
    q: mx.array, k: mx.array, g: mx.array, beta: mx.array
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """Compute how the tokens of each chunk act on each other.

    It begins with blocks of one token and joins neighbours until a block is the chunk. All factors
    are products of gates, so none overflows.

    Returns
    -------
    inverse
        The inverse of the matrix of the equations for the deltas, shape (..., size, size).
    reads
        `decay[i, j] (q_i k_j)` for j <= i, otherwise 0; the same shape.
    since_begin, to_end
        For each token the product of the gates up to it, and of those after it.
    """
    size = k.shape[-2]
    shape = *g.shape[:4], size, 1, 1
    reads = mx.broadcast_to((q * k).sum(axis=-1)[..., None, None], shape)
    inverse = mx.ones(shape, mx.float32)
    since_begin, to_end = _without_negligible(g), mx.ones_like(g)
    half = 1
    while half < size:

        def halves(array: mx.array, half: int = half) -> tuple[mx.array, mx.array]:
            block = array.reshape(*array.shape[:4], -1, 2, half, array.shape[-1])
            return block[..., 0, :, :], block[..., 1, :, :]

        first_key, second_key = halves(k)
        first_begin, second_begin = halves(since_begin)
        first_end, second_end = halves(to_end)
        earlier = first_key * first_end
        acts = _without_negligible(_dots(second_key * second_begin * halves(beta)[1], earlier))
        seen = _without_negligible(_dots(halves(q)[1] * second_begin, earlier))
        first, second = halves(inverse)
        below = _without_negligible(second @ (acts @ first)) if half > 1 else acts
        inverse = _lower(first, -below, second)
        first, second = halves(reads)
        reads = _lower(first, seen, second)
        longer = _without_negligible(second_begin * first_begin[..., -1:, :])
        since_begin = mx.concatenate([first_begin, longer], axis=-2)
        longer = _without_negligible(first_end * second_begin[..., -1:, :])
        to_end = mx.concatenate([longer, second_end], axis=-2)
        half *= 2
    return (
        inverse.reshape(*g.shape[:4], size, size),
        reads.reshape(*g.shape[:4], size, size),
        since_begin.reshape(g.shape),
        to_end.reshape(g.shape),
    )


def _without_negligible(factors: mx.array) -> mx.array:
    return mx.where(mx.abs(factors) < _NEGLIGIBLE, 0, factors)


def _dots(rows: mx.array, others: mx.array) -> mx.array:
    """Return the products of each row with each other row; many single rows without matrices."""
    if rows.shape[-2] == 1:
        return (rows * others).sum(axis=-1, keepdims=True)
    return rows @ others.swapaxes(-1, -2)


def _lower(first: mx.array, below: mx.array, second: mx.array) -> mx.array:
    """Join blocks to a lower triangular matrix."""
    top = mx.concatenate([first, mx.zeros_like(first)], axis=-1)
    return mx.concatenate([top, mx.concatenate([below, second], axis=-1)], axis=-2)


def _difference(original: Callable[..., Any], vectors: bool) -> float:
    """Return the largest difference from a function's results, as a part of the largest value."""
    keys = iter(mx.random.split(mx.random.key(0), 24))
    found = 0.0
    for length in (3, 20):
        for gate in ((2,), (2, 32))[: 1 + vectors]:
            q, k = (mx.random.normal((2, length, 1, 32), key=next(keys)) / 6 for _ in range(2))
            v, state = (
                mx.random.normal(shape, key=next(keys))
                for shape in ((2, length, 2, 32), (2, 2, 32, 32))
            )
            g = mx.random.uniform(0.3, 1, (2, length, *gate), key=next(keys))
            beta = mx.random.uniform(0, 1, (2, length, 2), key=next(keys))
            mask = mx.arange(length)[None] < mx.array([[length], [length - 2]])
            given = original(q, k, v, g, beta, state, mask)
            own = update(q, k, v, g, beta, state, mask)
            counts = mask[..., None, None]
            for one, other in (
                (mx.where(counts, given[0], 0), mx.where(counts, own[0], 0)),
                (given[1], own[1]),
            ):
                found = max(found, (mx.abs(one - other).max() / mx.abs(one).max()).item())
    return found


def _tolerance() -> float:
    """Return the difference that is rounding: on GPUs products have 10 bits after the first."""
    return 1e-5 if mx.default_device() == mx.cpu else 1e-2
