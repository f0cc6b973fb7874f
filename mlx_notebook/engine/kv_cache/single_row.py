"""Converts the KV cache of a batch with one row to the unbatched form and back.

Batched caches have padding and an attention mask. A single row, the most common case, needs neither
and decodes about 10 % faster without them. Attention caches are converted without a copy.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, CacheList, KVCache


def unbatched(layer: Any) -> Any:
    """Convert a batched cache with one row to the unbatched form; `layer` is used up."""
    if isinstance(layer, CacheList):
        return CacheList(*map(unbatched, layer.caches))
    if type(layer) is BatchKVCache and not layer.left_padding.item():
        single = KVCache()
        single.keys, single.values, single.offset = layer.keys, layer.values, layer._idx
        return single
    return layer.extract(0)


def batched(layer: Any) -> Any:
    """Convert an unbatched cache to a batch with one row; `layer` is used up."""
    if isinstance(layer, CacheList):
        return CacheList(*map(batched, layer.caches))
    if type(layer) is KVCache:
        batch = BatchKVCache([0])
        batch.keys, batch.values, batch._idx = layer.keys, layer.values, layer.offset
        batch.offset = mx.array([layer.offset])
        return batch
    return type(layer).merge([layer])


def compact_copy(layer: Any) -> Any:
    """Return a copy of a row's cache without unused capacity."""
    if isinstance(layer, CacheList):
        return CacheList(*map(compact_copy, layer.caches))
    if type(layer) is KVCache and layer.keys is not None:
        copy = KVCache()
        copy.keys = mx.contiguous(layer.keys[..., : layer.offset, :])
        copy.values = mx.contiguous(layer.values[..., : layer.offset, :])
        copy.offset = layer.offset
        return copy
    return type(layer).merge([layer]).extract(0)
