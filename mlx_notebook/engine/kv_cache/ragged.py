"""KV caches of a batch whose rows have unequal lengths, without padding between the tokens.

mlx-lm's `BatchKVCache` aligns rows at their ends: it pads them on the left, and moves all keys when
a row gets fewer tokens than another. Here every row begins at 0 and has its own length. So the rows
of a batch may advance by different numbers of tokens in one step, each can be cut back alone, and
nothing is moved. Positions after a row's end hold anything; the mask hides them.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, QuantizedKVCache

_CAPACITY_STEP = 256
"""Caches grow by this many tokens."""

_LONG = 4096
"""Longer keys are padded to a multiple of this."""

MOST_FED = 32
"""Most tokens of a row in one step of decoding."""


class RowPositions:
    """How many tokens each row of a batch holds. All layers share one.

    Attributes
    ----------
    lengths
        Tokens of each row.
    align
        On CUDA, where every new shape of the attention costs about 70 ms, several tokens attend to
        keys up to one of a few lengths. This is the least of them; elsewhere it is 1.
    """

    align = _CAPACITY_STEP if mx.cuda.is_available() else 1

    def __init__(self, lengths: Sequence[int]):
        self.lengths = list(lengths)
        self._offset: mx.array | None = None
        self._places: mx.array | None = None
        self.epoch = object()

    @property
    def offset(self) -> mx.array | int:
        """Tokens of each row, shape (rows,); a number for a single row."""
        if len(self.lengths) == 1:
            return self.lengths[0]
        if self._offset is None:
            self._offset = mx.array(self.lengths, mx.int32)
        return self._offset

    @property
    def equal(self) -> bool:
        """Whether all rows have the same length."""
        return self.lengths.count(self.lengths[0]) == len(self.lengths)

    def places(self, count: int) -> mx.array:
        """Return where the next `count` tokens of each row go, shape (rows, 1, count, 1)."""
        if self._places is None or self._places.shape[2] != count:
            places = np.array(self.lengths, np.int32)[:, None] + np.arange(count, dtype=np.int32)
            self._places = mx.array(places[:, None, :, None])
        return self._places

    def end(self, count: int) -> int:
        """Return the end of the keys that the next `count` tokens attend to."""
        end = max(self.lengths) + count
        if self.align == 1 or count == 1 or not self._masked(count):
            return end
        # Few lengths, since every new one costs time.
        power = 1 << (end - 1).bit_length()
        return max(self.align, min(power, _rounded(end, _LONG)))

    def _masked(self, count: int) -> bool:
        """Return whether the next `count` tokens need a mask of their own."""
        return not self.equal or (1 < count <= MOST_FED and self.align > 1)

    def mask(self, count: int, window: int | None, *, as_array: bool) -> mx.array | str | None:
        """Return the attention mask for the next `count` tokens: a row sees its own tokens only."""
        if not self._masked(count) and window is None and not as_array:
            return None if count == 1 else "causal"
        keys = mx.arange(self.end(count), dtype=mx.int32)
        places = self.places(count)
        mask = keys <= places
        if window is not None:
            mask = mask & (keys > places - window)
        return mask

    def advance(self, counts: Sequence[int]) -> None:
        """Add `counts` tokens; negative numbers cut rows back."""
        self.lengths = [length + n for length, n in zip(self.lengths, counts, strict=True)]
        self._forget()

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these rows."""
        self.lengths = [self.lengths[index] for index in indices]
        self._forget()

    def extend(self, lengths: Sequence[int]) -> None:
        """Add rows."""
        self.lengths.extend(lengths)
        self._forget()

    def _forget(self) -> None:
        self._offset = self._places = None
        self.epoch = object()


class RaggedKVCache:
    """One layer's KV cache of a batch, for `positions`.

    Attributes
    ----------
    arrays
        Keys and values, each of shape (rows, heads, capacity, dimensions); empty at first.
    """

    single: type[Any] = KVCache
    """The class of one row's cache."""

    def __init__(self, positions: RowPositions):
        self.positions = positions
        self.arrays: list[mx.array] = []
        self._ahead, self._epoch = 0, positions.epoch

    # --- what models call ---------------------------------------------------------------------

    @property
    def offset(self) -> mx.array | int:
        """Tokens of each row, shape (rows,), those of this step included once they are stored."""
        ahead = self._ahead if self._epoch is self.positions.epoch else 0
        return self.positions.offset + ahead if ahead else self.positions.offset

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Store the keys and values of the next tokens; return those of all tokens."""
        new = self._encode(keys, values)
        count = keys.shape[2]
        self._reserve(new, self.positions.end(count))
        if self.positions.equal:
            begin = self.positions.lengths[0]
            for array, part in zip(self.arrays, new, strict=True):
                array[..., begin : begin + count, :] = part
        else:
            places = self.positions.places(count)
            self.arrays = [
                mx.put_along_axis(array, mx.broadcast_to(places, part.shape), part, axis=2)
                for array, part in zip(self.arrays, new, strict=True)
            ]
        self._ahead, self._epoch = count, self.positions.epoch
        end = self.positions.end(count)
        return self._decode([array[..., :end, :] for array in self.arrays])

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Return the attention mask for the next `count` tokens."""
        return self.positions.mask(count, window_size, as_array=return_array)

    @property
    def state(self) -> list[mx.array]:
        """The arrays, to evaluate them."""
        return self.arrays

    @property
    def keys(self) -> mx.array:
        """The keys; a rank of a pipeline lets them depend on what it sends."""
        return self.arrays[0]

    @keys.setter
    def keys(self, keys: mx.array) -> None:
        self.arrays[0] = keys

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(int(array.nbytes) for array in self.arrays)

    def empty(self) -> bool:
        """Return whether no token is stored."""
        return not self.arrays

    def is_trimmable(self) -> bool:
        """Return True: every row can be cut to any length."""
        return True

    # --- rows ---------------------------------------------------------------------------------

    @classmethod
    def merge(cls, caches: Sequence[Any], positions: RowPositions) -> "RaggedKVCache":
        """Return the batch of single rows' caches, which are copied."""
        batch = cls(positions)
        filled = [cache for cache in caches if not cache.empty()]
        if not filled:
            return batch
        capacity = _rounded(max(positions.lengths))
        if len(caches) == 1:  # the data is not copied before the arrays have to grow
            batch.arrays = [mx.array(array) for array in cls._single_arrays(filled[0])]
            return batch
        like = cls._single_arrays(filled[0])
        rows = []
        for cache, length in zip(caches, positions.lengths, strict=True):
            if cache.empty():
                rows.append([_zeros(array, 1, capacity) for array in like])
                continue
            parts = [array[..., :length, :] for array in cls._single_arrays(cache)]
            rows.append([_padded(part, capacity) for part in parts])
        batch.arrays = [mx.concatenate(parts, axis=0) for parts in zip(*rows, strict=True)]
        return batch

    def sharing(self, positions: RowPositions) -> "RaggedKVCache":
        """Return a cache with the same arrays for other positions."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.positions, other.arrays, other._epoch = positions, list(self.arrays), positions.epoch
        other._ahead = 0
        return other

    def extend(self, other: "RaggedKVCache", rows: int, others: int) -> None:
        """Add another batch's rows, which come after these; the positions are not changed."""
        if not self.arrays and not other.arrays:
            return
        like = self.arrays or other.arrays
        mine = self.arrays or [_zeros(array, rows, 0) for array in like]
        theirs = other.arrays or [_zeros(array, others, 0) for array in like]
        capacity = max(mine[0].shape[2], theirs[0].shape[2])
        self.arrays = [
            mx.concatenate([_padded(a, capacity), _padded(b, capacity)], axis=0)
            for a, b in zip(mine, theirs, strict=True)
        ]

    def keep(self, indices: Sequence[int], longest: int) -> None:
        """Keep only these rows, the longest of which has `longest` tokens."""
        if not self.arrays:
            return
        chosen = mx.array(list(indices), mx.int32)
        capacity = min(self.arrays[0].shape[2], _rounded(longest + 1))
        self.arrays = [array[..., :capacity, :][chosen] for array in self.arrays]

    def extract(self, index: int) -> Any:
        """Return a copy of one row as a single cache without unused capacity."""
        length = self.positions.lengths[index]
        return self._single(
            [mx.contiguous(array[index : index + 1, :, :length]) for array in self.arrays], length
        )

    # --- one row's cache ----------------------------------------------------------------------

    def _encode(self, keys: mx.array, values: mx.array) -> list[mx.array]:
        return [keys, values]

    def _decode(self, arrays: list[mx.array]) -> tuple[Any, Any]:
        keys, values = arrays
        return keys, values

    @staticmethod
    def _single_arrays(cache: Any) -> list[mx.array]:
        return [cache.keys, cache.values]

    def _single(self, arrays: list[mx.array], length: int) -> Any:
        cache = KVCache()
        if arrays:
            (cache.keys, cache.values), cache.offset = arrays, length
        return cache

    def _reserve(self, new: list[mx.array], end: int) -> None:
        """Grow the arrays to hold `end` tokens of each row."""
        if not self.arrays:
            capacity = _rounded(end)
            self.arrays = [
                mx.zeros((*part.shape[:2], capacity, part.shape[3]), part.dtype) for part in new
            ]
        elif end > self.arrays[0].shape[2]:
            self.arrays = [_padded(array, _rounded(end)) for array in self.arrays]


class RaggedQuantizedKVCache(RaggedKVCache):
    """The same with keys and values in 8 or 4 bits.

    Attributes
    ----------
    dequantizes
        Whether the attention gets the numbers dequantised. On CUDA, MLX has no quantised products
        of all the shapes that it needs.
    """

    single = QuantizedKVCache
    dequantizes = mx.cuda.is_available()

    def __init__(self, positions: RowPositions, group_size: int = 64, bits: int = 8):
        super().__init__(positions)
        self._set_kind(group_size, bits)

    @classmethod
    def merge(cls, caches: Sequence[Any], positions: RowPositions) -> "RaggedKVCache":
        """Return the batch of single rows' caches, which are copied."""
        batch = super().merge(caches, positions)
        assert isinstance(batch, RaggedQuantizedKVCache)
        batch._set_kind(caches[0].group_size, caches[0].bits)
        return batch

    def _set_kind(self, group_size: int, bits: int) -> None:
        self._kind = {"group_size": group_size, "bits": bits}
        if not self.dequantizes:
            # By `bits`, mlx-lm's attention knows that the arrays are quantised.
            self.group_size, self.bits = group_size, bits

    def _encode(self, keys: mx.array, values: mx.array) -> list[mx.array]:
        return [*mx.quantize(keys, **self._kind), *mx.quantize(values, **self._kind)]

    def _decode(self, arrays: list[mx.array]) -> tuple[Any, Any]:
        keys, values = tuple(arrays[:3]), tuple(arrays[3:])
        if self.dequantizes:
            return mx.dequantize(*keys, **self._kind), mx.dequantize(*values, **self._kind)
        return keys, values

    @staticmethod
    def _single_arrays(cache: Any) -> list[mx.array]:
        return [*cache.keys, *cache.values]

    def _single(self, arrays: list[mx.array], length: int) -> Any:
        cache = QuantizedKVCache(**self._kind)
        if arrays:
            cache.keys, cache.values = tuple(arrays[:3]), tuple(arrays[3:])
            cache.offset = length
        return cache


def ragged_class(cache: Any) -> type[RaggedKVCache] | None:
    """Return the batched form of a single row's cache; None if mlx-lm's own must be used."""
    for kind in (RaggedKVCache, RaggedQuantizedKVCache):
        if type(cache) is kind.single:
            return kind
    return None


def _rounded(length: int, step: int = _CAPACITY_STEP) -> int:
    return -(-length // step) * step


def _padded(array: mx.array, capacity: int) -> mx.array:
    missing = capacity - array.shape[2]
    return mx.pad(array, [(0, 0), (0, 0), (0, missing), (0, 0)]) if missing else array


def _zeros(like: mx.array, rows: int, capacity: int) -> mx.array:
    return mx.zeros((rows, like.shape[1], capacity, like.shape[3]), like.dtype)
