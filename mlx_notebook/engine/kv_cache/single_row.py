"""A batch of one without the batch: its caches as a single stream has them, and back.

Batched caches carry padding and an attention mask; a lone row, the commonest case, needs neither
and decodes about a tenth faster without. Attention caches change form without a copy.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, CacheList, KVCache


def alone(layer: Any) -> Any:
    """The cache of the only row of a batched cache; takes the batched one over."""
    if isinstance(layer, CacheList):
        return CacheList(*map(alone, layer.caches))
    if type(layer) is BatchKVCache and not layer.left_padding.item():
        single = KVCache()
        single.keys, single.values, single.offset = layer.keys, layer.values, layer._idx
        return single
    return layer.extract(0)


def together(layer: Any) -> Any:
    """A batched cache of one row; takes the single one over."""
    if isinstance(layer, CacheList):
        return CacheList(*map(together, layer.caches))
    if type(layer) is KVCache:
        batched = BatchKVCache([0])
        batched.keys, batched.values, batched._idx = layer.keys, layer.values, layer.offset
        batched.offset = mx.array([layer.offset])
        return batched
    return type(layer).merge([layer])


def kept(layer: Any) -> Any:
    """A copy of a single row's cache that is no larger than it must be."""
    if isinstance(layer, CacheList):
        return CacheList(*map(kept, layer.caches))
    if type(layer) is KVCache and layer.keys is not None:
        copy = KVCache()
        copy.keys = mx.contiguous(layer.keys[..., : layer.offset, :])
        copy.values = mx.contiguous(layer.values[..., : layer.offset, :])
        copy.offset = layer.offset
        return copy
    return type(layer).merge([layer]).extract(0)
