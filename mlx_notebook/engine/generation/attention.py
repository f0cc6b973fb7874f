"""Records the attention of a model: how much each token takes from each token before it.

MLX's fused attention never holds the weights, so they are computed beside it, for as long as they
are recorded. Every architecture of mlx-lm and mlx-vlm that calls the function
`scaled_dot_product_attention` of its library can be recorded.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.protocol import PromptAttention

_TOP = 10
"""How many tokens to name for each: those that it took most from."""

_STEP_BYTES = 2**25
"""Most bytes of the weights that a step computes in one layer. A single token may need more."""
_MOST_HEADS = 128
"""As many heads a model is taken to have until the first step has shown them."""
_COPIES = 4
"""The most memory that a step needs, as a multiple of those bytes (measured on a CPU: 2.5)."""

_NAME = "scaled_dot_product_attention"
_LIBRARIES = ("mlx_lm.models.", "mlx_vlm.models.")


def attention_modules(model: Any) -> list[ModuleType]:
    """Return the modules whose attention can be recorded; none if the architecture has another."""
    names = {type(part).__module__ for part in model.modules()}
    modules = [sys.modules[name] for name in sorted(names) if name.startswith(_LIBRARIES)]
    return [module for module in modules if callable(getattr(module, _NAME, None))]


class LayerWeights(NamedTuple):
    """The attention weights of a layer: their mean over its heads, shape (L, length)."""

    mean: mx.array
    heads: int


class AttentionRecord:
    """The attention that the last tokens of a prompt took from those before them.

    The query of a token's place yields the next token. So the attention of token i is that of the
    query at i - 1: what the model looked at when it chose the token.

    Parameters
    ----------
    model
        The model that computes the prompt.
    start
        The first token whose attention is recorded, at least 1.
    length
        Tokens of the prompt.

    Attributes
    ----------
    nbytes
        Bytes of memory that the last step needed.
    """

    def __init__(self, model: Any, start: int, length: int):
        self.nbytes, self._heads = 0, _MOST_HEADS
        self._modules = attention_modules(model)
        self._start, self._length, self._layers = start, length, 0
        self._sum = mx.zeros(start)
        self._tokens: list[list[tuple[int, float]]] = []

    def step_tokens(self, begin: int) -> int:
        """Return how many tokens from `begin` on a step may compute.

        The weights of recorded tokens need memory for each head and all tokens before.
        """
        if begin < self._start - 1:
            return self._start - 1 - begin
        return max(1, _STEP_BYTES // (4 * self._heads * self._length))

    @contextmanager
    def recording(self, begin: int, count: int) -> Iterator[None]:
        """Record the `count` tokens from `begin` on, which the model computes in the block.

        Raises
        ------
        InvalidRequest
            If no layer has kept all tokens.
        """
        first, end = max(begin, self._start - 1), min(begin + count, self._length - 1)
        if first >= end:
            yield
            return
        with recorded(self._modules, begin + count) as layers:
            yield
        if not layers:
            raise InvalidRequest(
                "no layer of this model keeps so many tokens: shorten the prompt",
                "prompt_attention_from",
            )
        self._layers = len(layers)
        self._heads = max(layer.heads for layer in layers)
        self.nbytes = _COPIES * 4 * self._heads * count * (begin + count)
        rows = slice(first - begin, end - begin)
        total = sum((layer.mean[rows, : self._start] for layer in layers), mx.array(0.0))
        mean = total / len(layers)
        top = mx.argsort(-mean, axis=-1)[:, :_TOP]
        self._sum = self._sum + mean.sum(axis=0)
        weights = mx.take_along_axis(mean, top, axis=-1)
        mx.eval(self._sum, top, weights)
        for places, values in zip(top.tolist(), weights.tolist(), strict=True):
            self._tokens.append(list(zip(places, values, strict=True)))

    def result(self) -> PromptAttention:
        """Return what was recorded."""
        mean = self._sum / len(self._tokens)
        return PromptAttention(self._layers, mean.tolist(), self._tokens)


@contextmanager
def recorded(modules: list[ModuleType], length: int) -> Iterator[list[LayerWeights]]:
    """Record the attention of each layer that the models of these modules compute in the block.

    Only the thread that owns MLX calls models, so nothing else is recorded.

    Parameters
    ----------
    modules
        What `attention_modules` returned.
    length
        Tokens in the KV cache after the block. A layer that has not kept all of them, because its
        window slides, is left out: the places of its keys are unknown.

    Yields
    ------
    list of LayerWeights
        The weights of each layer, not evaluated.
    """
    weights: list[LayerWeights] = []
    originals = [getattr(module, _NAME) for module in modules]

    def recording(original: Any) -> Any:
        def attention(
            queries: mx.array, keys: Any, values: Any, *args: Any, **kwargs: Any
        ) -> mx.array:
            if isinstance(keys, mx.array) and keys.shape[2] == length:
                mean = _mean_weights(queries, keys, *args, **kwargs)
                weights.append(LayerWeights(mean, queries.shape[1]))
            result: mx.array = original(queries, keys, values, *args, **kwargs)
            return result

        return attention

    for module, original in zip(modules, originals, strict=True):
        setattr(module, _NAME, recording(original))
    try:
        yield weights
    finally:
        for module, original in zip(modules, originals, strict=True):
            setattr(module, _NAME, original)


def _mean_weights(
    queries: mx.array,
    keys: mx.array,
    cache: Any = None,
    scale: float = 1.0,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
) -> mx.array:
    """Return the attention weights of one row, the mean over its heads.

    The parameters are those of mlx-lm's `scaled_dot_product_attention`.
    """
    _, heads, count, size = queries.shape
    groups, total = keys.shape[1:3]
    grouped = (scale * queries[0].astype(mx.float32)).reshape(groups, -1, count, size)
    scores = grouped @ keys[0].astype(mx.float32)[:, None].swapaxes(-1, -2)
    scores = scores.reshape(heads, count, total)
    if isinstance(mask, str):
        assert mask == "causal"
        mask = mx.arange(total - count, total)[:, None] >= mx.arange(total)
    if isinstance(mask, mx.array):
        allowed = mask.reshape(-1, *mask.shape[-2:])
        if allowed.dtype == mx.bool_:
            scores = mx.where(allowed, scores, -mx.inf)
        else:
            scores = scores + allowed.astype(mx.float32)
    if sinks is not None:
        # A sink takes a part of the attention away from all tokens.
        column = mx.broadcast_to(sinks.astype(mx.float32)[:, None, None], (heads, count, 1))
        scores = mx.concatenate([scores, column], axis=-1)
    return mx.softmax(scores, axis=-1)[..., :total].mean(axis=0)
