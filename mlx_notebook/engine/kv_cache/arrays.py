"""Converts KV caches to named numpy arrays, which can be stored on disk, and back.

This works for caches that can be cut at any length, plain and quantised ones. A sliding window or a
recurrent state is valid for one length only.
"""

import copy
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.block_file import Arrays

# By name, since mlx-vlm has classes of its own with the same names as mlx-lm's.
_KINDS = ("KVCache", "QuantizedKVCache", "SingleRowQuantizedCache")


def can_be_stored(layers: list[Any]) -> bool:
    """Return whether all layers have caches of kinds that can be stored."""
    return all(type(layer).__name__ in _KINDS for layer in _leaves(layers))


def to_arrays(layers: list[Any], count: int) -> Arrays | None:
    """Return the arrays of a cache that holds `count` tokens, without a copy.

    Call this in the thread that owns MLX. Any thread may read the arrays.

    Returns
    -------
    None if the cache cannot be stored or holds another number of tokens.
    """
    if not can_be_stored(layers) or any(layer.offset != count for layer in _leaves(layers)):
        return None
    parts: dict[str, mx.array] = {}
    for number, layer in enumerate(_leaves(layers)):
        for part, array in tree_flatten((layer.keys, layer.values)):
            kind = str(array.dtype).removeprefix("mlx.core.")
            # numpy has no bfloat16.
            plain = array.view(mx.uint16) if kind == "bfloat16" else array
            parts[f"{number}/{part}/{kind}"] = plain
    mx.eval(list(parts.values()))
    return {name: np.array(array, copy=False) for name, array in parts.items()}


def from_arrays(empty: list[Any], arrays: Arrays, count: int) -> list[Any]:
    """Return a cache of `count` tokens with the layers of `empty`, in the thread that owns MLX.

    Raises
    ------
    ValueError
        If the arrays do not fit these layers.
    """
    layers = copy.deepcopy(empty)
    parts: dict[int, list[tuple[str, mx.array]]] = {}
    for name, array in arrays.items():
        number, part, kind = name.split("/")
        restored = mx.array(array)
        restored = restored.view(mx.bfloat16) if kind == "bfloat16" else restored
        parts.setdefault(int(number), []).append((part, restored))
    leaves = list(_leaves(layers))
    if parts.keys() != set(range(len(leaves))):
        raise ValueError("the layers are not those of the model")
    for index, layer in enumerate(leaves):
        layer.keys, layer.values = tree_unflatten(parts[index])
        layer.offset = count
    return layers


def _leaves(layers: list[Any]) -> Iterator[Any]:
    for layer in layers:
        if type(layer).__name__ == "CacheList":
            yield from _leaves(layer.caches)
        elif not isinstance(layer, ImageTokenCache):  # every prompt brings its own
            yield layer
