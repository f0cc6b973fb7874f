"""KV caches become arrays for the disk, and the same caches again."""

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, ChunkedKVCache, KVCache, RotatingKVCache

from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.disk.arrays import can_be_stored, from_arrays, to_arrays, to_state

WINDOW = 8


def empty() -> list[Any]:
    return [KVCache(), RotatingKVCache(WINDOW), CacheList(ArraysCache(2), KVCache())]


def filled(count: int, kind: mx.Dtype) -> list[Any]:
    layers = empty()
    numbers = mx.random.normal((1, 2, count, 4)).astype(kind)
    # In two steps, as a prompt and a token: a full window then begins in its middle.
    for layer in (layers[0], layers[1], layers[2].caches[1]):
        layer.update_and_fetch(numbers[..., :-1, :], numbers[..., :-1, :])
        layer.update_and_fetch(numbers[..., -1:, :], numbers[..., -1:, :])
    layers[2].caches[0][0] = mx.random.normal((1, 3, 5)).astype(kind)
    layers[2].caches[0][1] = mx.random.normal((1, 2, 4, 4))
    return layers


def feed(layers: list[Any], kind: mx.Dtype) -> list[Any]:
    """What attention sees when one more token comes."""
    mx.random.seed(1)
    new = mx.random.normal((1, 2, 1, 4)).astype(kind)
    caches = (layers[0], layers[1], layers[2].caches[1])
    return [array for cache in caches for array in cache.update_and_fetch(new, new)]


@pytest.mark.parametrize("kind", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("count", [3, WINDOW, 3 * WINDOW + 1])
def test_a_cache_goes_on_as_before(count: int, kind: mx.Dtype) -> None:
    layers = filled(count, kind)
    arrays = to_arrays(layers, count)
    assert arrays is not None
    held = {n: a[..., :count, :] for n, a in arrays.items()}
    back = from_arrays(empty(), {**held, **to_state(layers)}, count)
    assert [type(layer) for layer in back] == [type(layer) for layer in layers]
    for one, other in zip(back[2].caches[0].cache, layers[2].caches[0].cache, strict=True):
        assert one.dtype == other.dtype
        assert mx.array_equal(one, other)
    for one, other in zip(feed(back, kind), feed(layers, kind), strict=True):
        assert one.dtype == other.dtype
        assert mx.array_equal(one, other)


@pytest.mark.parametrize("extra", [True, False])
def test_arrays_of_other_layers_are_refused(extra: bool) -> None:
    layers = filled(5, mx.float32)
    arrays = {**(to_arrays(layers, 5) or {}), **to_state(layers)}
    from_arrays(empty(), arrays, 5)
    if extra:
        arrays["9/0/float32"] = arrays["0/0/float32"]
    else:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("0/")}
    with pytest.raises(ValueError, match="not those of the model"):
        from_arrays(empty(), arrays, 5)


def test_a_cache_of_another_length_and_one_of_an_unknown_kind_have_no_arrays() -> None:
    assert to_arrays(filled(5, mx.float32), 4) is None
    assert can_be_stored([*empty(), ImageTokenCache()])
    assert not can_be_stored([KVCache(), ChunkedKVCache(8)])
