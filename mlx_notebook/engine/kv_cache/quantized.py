"""KV caches in 4 or 8 bits: which models can have them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, QuantizedKVCache, make_prompt_cache

from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.protocol import ModelOptions

_GROUP_SIZES = (64, 32)


def row_caches(name: str, model: Any, options: ModelOptions) -> Callable[[], list[Any]]:
    """Return a function that makes the empty caches of a row, as the model's settings want them.

    Raises
    ------
    LoadFailed
        If mlx-lm cannot quantise this model's KV caches.
    """
    if options.kv_bits is None:
        return partial(make_prompt_cache, model)
    return quantized_caches(name, model, options.kv_bits)


def quantized_caches(name: str, model: Any, bits: int) -> Callable[[], list[Any]]:
    """Return a function that makes empty quantised KV caches for a model, after testing one.

    Raises
    ------
    LoadFailed
        If mlx-lm cannot quantise this model's KV caches.
    """
    caches = make_prompt_cache(model)
    kinds = {type(layer).__name__ for layer in caches if type(layer) is not KVCache}
    if kinds:
        raise _refusal(name, f"mlx-lm does not quantise its {', '.join(sorted(kinds))}")
    model(mx.array([[0]]), cache=caches)
    sizes = {array.shape[-1] for layer in caches for array in (layer.keys, layer.values)}
    fitting = [group for group in _GROUP_SIZES if all(size % group == 0 for size in sizes)]
    if not fitting:
        raise _refusal(name, f"its heads of {min(sizes)} numbers are no multiple of 32")
    group, count = fitting[0], len(caches)

    def make() -> list[Any]:
        return [QuantizedKVCache(group, bits) for _ in range(count)]

    try:
        mx.eval(model(mx.array([[0]]), cache=make()))
    except ValueError as error:
        raise _refusal(name, str(error).rstrip(".")) from error
    return make


def _refusal(name: str, reason: str) -> LoadFailed:
    return LoadFailed(
        f"{name} cannot be loaded with kv_bits: {reason}. Remove that setting.", "model"
    )
