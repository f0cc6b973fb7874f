"""KV caches in 4 or 8 bits: mlx-lm's quantised cache, in a batch with one row.

mlx-lm has no quantised cache for larger batches, so the requests of such a model run one by one.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.models.cache import KVCache, QuantizedKVCache, make_prompt_cache

from mlx_notebook.engine.errors import LoadFailed

_GROUP_SIZES = (64, 32)


class SingleRowQuantizedCache(QuantizedKVCache):
    """A quantised KV cache with the methods that a batch with one row needs."""

    keys: Any
    values: Any

    @classmethod
    def merge(cls, caches: list["SingleRowQuantizedCache"]) -> "SingleRowQuantizedCache":
        """Return the batch of the only row."""
        (only,) = caches
        return only

    def extract(self, index: int) -> "SingleRowQuantizedCache":
        """Return a copy without unused capacity."""
        copy = SingleRowQuantizedCache(self.group_size, self.bits)
        if self.keys is not None:
            copy.keys, copy.values = tree_map(
                lambda array: mx.contiguous(array[..., : self.offset, :]), (self.keys, self.values)
            )
            copy.offset = self.offset
        return copy

    def size(self) -> int:
        """Return how many tokens it holds."""
        return int(self.offset)

    def filter(self, indices: list[int]) -> None:
        """Keep the only row."""

    def finalize(self) -> None:
        """Do nothing: one row has no padding."""


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
        return [SingleRowQuantizedCache(group, bits) for _ in range(count)]

    try:
        mx.eval(model(mx.array([[0]]), cache=make()))
    except ValueError as error:
        raise _refusal(name, str(error).rstrip(".")) from error
    return make


def _refusal(name: str, reason: str) -> LoadFailed:
    return LoadFailed(
        f"{name} cannot be loaded with kv_bits: {reason}. Remove that setting.", "model"
    )
