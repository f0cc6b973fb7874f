"""The KV caches of some rows, one for each layer, as a model takes them."""

import copy
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import CacheList

from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.ragged import RaggedKVCache, RowPositions, ragged_class
from mlx_notebook.engine.kv_cache.row_cache import RowCache, Twin, twin_of


class BatchCache:
    """The KV caches of a batch of rows.

    Layers of full attention have ragged caches. Others (sliding windows, recurrent states) have
    mlx-lm's: that of the only row as it is, or its batched form.

    Parameters
    ----------
    rows
        The caches of each row, one per layer. They are used up.

    Attributes
    ----------
    layers
        What the model takes as `cache`.
    ragged
        Whether rows may advance by different numbers of tokens, and be cut back alone.
    twin
        The same batch on the other ranks; None if there is one rank or there are no rows.
    """

    def __init__(self, rows: Sequence[list[Any]]):
        twins = [twin for row in rows if (twin := twin_of(row)) is not None]
        self.twin: Twin | None = twins[0].call("batch", twins[1:]) if twins else None
        self._rows = len(rows)
        self._positions = RowPositions([_length(row) for row in rows])
        self.layers: list[Any] = [self._merged(layer) for layer in zip(*rows, strict=True)]
        self.ragged = all(
            isinstance(layer, RaggedKVCache | ImageTokenCache) for layer in self.layers
        )

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(int(layer.nbytes) for layer in self.layers)

    @property
    def state(self) -> list[Any]:
        """All arrays, to evaluate them."""
        return [layer.state for layer in self.layers]

    def feed(
        self, model: Any, tokens: mx.array, counts: Sequence[int], *, only_state: bool = False
    ) -> mx.array:
        """Feed the next tokens; return the logits, shape (rows, L, vocabulary), not evaluated.

        Parameters
        ----------
        tokens
            Shape (rows, L). What follows the first `counts[i]` tokens of row i is padding. Only a
            ragged cache takes padding if there is one row.
        only_state
            Whether nobody evaluates the logits.
        """
        if self.twin is not None:
            self.twin.call("feed", (), (only_state, tokens.shape[1], *counts))
            tokens = self.twin.broadcast(tokens)
        padding = [tokens.shape[1] - count for count in counts]
        padded = [layer for layer in self.layers if not isinstance(layer, RaggedKVCache)]
        if not any(padding):
            padded = []
        for layer in padded:
            layer.prepare(lengths=list(counts), right_padding=padding)
        logits: mx.array = model(tokens, cache=self.layers)
        self._positions.advance(counts)
        for layer in padded:
            layer.finalize()
        if self.twin is not None:  # before the next call, since the ranks wait for each other
            mx.async_eval(self.state if only_state else [logits, self.state])
        return logits

    def cut(self, counts: Sequence[int]) -> None:
        """Remove the last `counts[i]` tokens of row i. The cache must be ragged."""
        if self.twin is not None:
            self.twin.call("cut_back", (), counts)
        self._positions.advance([-count for count in counts])
        for layer in self.layers:
            if isinstance(layer, ImageTokenCache):
                layer.cut(counts)

    # --- rows ---------------------------------------------------------------------------------

    def extend(self, other: "BatchCache") -> None:
        """Add the rows of another batch, which is used up."""
        if not len(other):
            return
        if not len(self):
            self.__dict__.update(other.__dict__)
            return
        if self.twin is not None and other.twin is not None:
            self.twin.call("extend", (other.twin,))
        for index, (mine, theirs) in enumerate(zip(self.layers, other.layers, strict=True)):
            if isinstance(mine, RaggedKVCache):
                mine.extend(theirs, len(self), len(other))
                continue
            self.layers[index] = _batched(mine, len(self))
            self.layers[index].extend(_batched(theirs, len(other)))
        self._positions.extend(other._positions.lengths)
        self._rows += len(other)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these rows."""
        if len(indices) == len(self):
            return
        if not indices:
            self.layers, self._rows, self.twin = [], 0, None
            self._positions.keep([])
            return
        if self.twin is not None:
            self.twin.call("keep", (), indices)
        longest = max(self._positions.lengths[index] for index in indices)
        for layer in self.layers:
            if isinstance(layer, RaggedKVCache):
                layer.keep(indices, longest)
            else:
                layer.filter(list(indices))
        self._positions.keep(indices)
        self._rows = len(indices)

    def split(self, indices: Sequence[int]) -> "BatchCache":
        """Take these rows out, into a batch of their own."""
        other = BatchCache.__new__(BatchCache)
        if len(indices) == len(self):
            other.__dict__.update(self.__dict__)
            self.layers, self._rows, self._positions = [], 0, RowPositions([])
            self.twin = None
            return other
        twins = self.twin, self.twin.call("split", (), indices) if self.twin is not None else None
        self.twin = other.twin = None  # the calls below are a part of this one
        other._rows, other._positions = len(self), RowPositions(self._positions.lengths)
        other.ragged = self.ragged
        other.layers = [
            layer.sharing(other._positions)
            if isinstance(layer, RaggedKVCache)
            else copy.deepcopy(layer)
            for layer in self.layers
        ]
        other.keep(indices)
        self.keep([index for index in range(len(self)) if index not in set(indices)])
        self.twin, other.twin = twins
        return other

    def extract(self, index: int) -> RowCache:
        """Return copies of one row's caches, without unused capacity."""
        twin = self.twin.call("extract", (), (index,)) if self.twin is not None else None
        return RowCache((self._extracted(layer, index) for layer in self.layers), twin)

    def _extracted(self, layer: Any, index: int) -> Any:
        if isinstance(layer, RaggedKVCache) or len(self) > 1 or _is_batched(layer):
            return layer.extract(index)
        return type(layer).merge([layer]).extract(0)

    def _merged(self, caches: tuple[Any, ...]) -> Any:
        kind = ragged_class(caches[0])
        if kind is not None:
            return kind.merge(caches, self._positions)
        if len(caches) == 1:
            return caches[0]
        return type(caches[0]).merge(list(caches))


def _length(caches: list[Any]) -> int:
    """Return the tokens of a row's ragged layers; 0 if it has none."""
    return next((int(c.offset) for c in caches if ragged_class(c) is not None), 0)


def _batched(layer: Any, rows: int) -> Any:
    """Return the batched form of a layer's cache, which is used up."""
    return layer if rows > 1 or _is_batched(layer) else type(layer).merge([layer])


def _is_batched(layer: Any) -> bool:
    """Return whether a layer's cache is in the batched form even for one row."""
    if isinstance(layer, CacheList):
        return _is_batched(layer.caches[0])
    return isinstance(layer, ImageTokenCache) or type(layer).__name__.startswith("Batch")
