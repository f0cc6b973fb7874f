"""KV caches as named numpy arrays and back: the form in which prompts go to disk.

Only caches that can be cut at any length have it, plain and quantised ones. A sliding window or a
recurrent state stands for one length only.
"""

import copy
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.disk_store import Arrays

# By name, since mlx-vlm has classes of its own beside mlx-lm's.
_KINDS = ("KVCache", "QuantizedKVCache", "LoneQuantizedCache")


def can_be_stored(layers: list[Any]) -> bool:
    """Whether all layers are of kinds that can be written."""
    return all(type(layer).__name__ in _KINDS for layer in _leaves(layers))


def to_arrays(layers: list[Any], count: int) -> Arrays | None:
    """The arrays of a cache that holds `count` tokens, without a copy; None if it does not.

    On the owner's thread; the arrays may then be read on any.
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
    """A cache of `count` tokens like the `empty` one of the same model, on the owner's thread.

    Raises
    ------
    ValueError
        If the arrays are not those of such a cache.
    """
    layers = copy.deepcopy(empty)
    parts: dict[int, list[tuple[str, mx.array]]] = {}
    for name, array in arrays.items():
        place, part, kind = name.split("/")
        made = mx.array(array)
        made = made.view(mx.bfloat16) if kind == "bfloat16" else made
        parts.setdefault(int(place), []).append((part, made))
    leaves = list(_leaves(layers))
    if parts.keys() != set(range(len(leaves))):
        raise ValueError("the layers are not those of the model")
    for number, layer in enumerate(leaves):
        layer.keys, layer.values = tree_unflatten(parts[number])
        layer.offset = count
    return layers


def _leaves(layers: list[Any]) -> Iterator[Any]:
    for layer in layers:
        if type(layer).__name__ == "CacheList":
            yield from _leaves(layer.caches)
        elif not isinstance(layer, ImageTokenCache):  # which every prompt brings along
            yield layer
