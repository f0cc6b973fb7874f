"""Converts KV caches to named numpy arrays, which can be stored on disk, and back.

Of layers that can be cut at any length, plain and quantised ones, there is an array with one part a
token. A sliding window or a recurrent state is valid for one length only: its arrays, and the
numbers that belong to them, are stored whole for each checkpoint. Their names begin with `STATE`.
"""

import copy
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.checkpoints import always_cuttable
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.disk.block_names import STATE

# By name, since mlx-vlm has classes of its own with the same names as mlx-lm's.
_STATES = ("ArraysCache", "RotatingKVCache")


def can_be_stored(layers: list[Any]) -> bool:
    """Return whether all layers have caches of kinds that can be stored."""
    return all(always_cuttable(layer) or _is_state(layer) for layer in _leaves(layers))


def to_arrays(layers: list[Any], count: int) -> Arrays | None:
    """Return the arrays of the layers that can be cut, of a cache that holds `count` tokens.

    They are not copied. Call this in the thread that owns MLX. Any thread may read the arrays.

    Returns
    -------
    None if the cache cannot be stored or holds another number of tokens.
    """
    if not can_be_stored(layers):
        return None
    parts: dict[str, mx.array] = {}
    for number, layer in enumerate(_leaves(layers)):
        if _is_state(layer):
            continue
        if layer.offset != count:
            return None
        for part, array in tree_flatten((layer.keys, layer.values)):
            parts[f"{number}/{part}/{_kind(array)}"] = array
    return _plain(parts)


def to_state(layers: list[Any]) -> Arrays:
    """Return the arrays of the layers that cannot be cut, or of a checkpoint.

    Call this in the thread that owns MLX.
    """
    parts: dict[str, mx.array] = {}
    numbers: Arrays = {}
    for number, layer in enumerate(_leaves(layers)):
        if not _is_state(layer):
            continue
        for part, value in tree_flatten(vars(layer)):
            if isinstance(value, mx.array):
                parts[f"{STATE}{number}/{part}/{_kind(value)}"] = value
            elif isinstance(value, int):
                numbers[f"{STATE}{number}/{part}/number"] = np.array(value)
    return {**_plain(parts), **numbers}


def from_arrays(empty: list[Any], arrays: Arrays, count: int) -> list[Any]:
    """Return a cache of `count` tokens with the layers of `empty`, in the thread that owns MLX.

    Raises
    ------
    ValueError
        If the arrays do not fit these layers.
    """
    layers = copy.deepcopy(empty)
    parts: dict[int, list[tuple[str, Any]]] = {}
    for name, array in arrays.items():
        number, part, kind = name.removeprefix(STATE).split("/")
        parts.setdefault(int(number), []).append((part, _restored(array, kind)))
    leaves = list(_leaves(layers))
    if parts.keys() != set(range(len(leaves))):
        raise ValueError("the layers are not those of the model")
    for index, layer in enumerate(leaves):
        if _is_state(layer):
            values = dict(tree_flatten(vars(layer)))
            values.update(parts[index])
            vars(layer).update(tree_unflatten(list(values.items())))
        else:
            layer.keys, layer.values = tree_unflatten(parts[index])
            layer.offset = count
    return layers


def _plain(parts: dict[str, mx.array]) -> Arrays:
    # numpy has no bfloat16.
    bits = {n: a.view(mx.uint16) if n.endswith("/bfloat16") else a for n, a in parts.items()}
    mx.eval(list(bits.values()))
    return {name: np.array(array, copy=False) for name, array in bits.items()}


def _restored(array: Any, kind: str) -> Any:
    if kind == "number":
        return array.item()
    restored = mx.array(array)
    return restored.view(mx.bfloat16) if kind == "bfloat16" else restored


def _kind(array: mx.array) -> str:
    return str(array.dtype).removeprefix("mlx.core.")


def _is_state(layer: Any) -> bool:
    return type(layer).__name__ in _STATES


def _leaves(layers: Any) -> Iterator[Any]:
    for layer in layers:
        if type(layer).__name__ == "CacheList":
            yield from _leaves(layer.caches)
        elif not isinstance(layer, ImageTokenCache):  # every prompt brings its own
            yield layer
