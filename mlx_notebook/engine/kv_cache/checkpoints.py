"""Cuts the KV cache of a sequence at a length that it has passed.

The cache of an attention layer can be cut at any length. A sliding window and a recurrent state are
valid for one length only. For such layers a checkpoint keeps what they were at an earlier length.
It holds nothing of the other layers: they are cut from the sequence's KV cache.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from mlx_notebook.engine.kv_cache.row_cache import RowCache, Twin, twin_of
from mlx_notebook.engine.prompts.prompt import PreparedPrompt

# By name, since mlx-vlm has classes of its own with the same names as mlx-lm's.
_CUTTABLE = ("KVCache", "QuantizedKVCache", "SingleRowQuantizedCache", "ImageTokenCache")

_CHECKPOINT_STEP, _CHECKPOINT_GAP = 2048, 64
"""Most and least tokens between checkpoints of a prompt whose KV cache cannot be cut."""


@dataclass(frozen=True)
class Checkpoint:
    """The layers that cannot be cut, as they were at one length; None in place of the others."""

    layers: list[Any]
    nbytes: int
    twin: Twin | None = None


def always_cuttable(layer: Any) -> bool:
    """Return whether a layer's cache can be cut to any length. A full sliding window cannot."""
    if type(layer).__name__ == "CacheList":
        return all(map(always_cuttable, layer.caches))
    return type(layer).__name__ in _CUTTABLE


def checkpoint_lengths(prompt: PreparedPrompt, cached: int) -> list[int]:
    """Return the lengths at which to keep a prompt's caches that cannot be cut, in order.

    Each is one more call of the model. So a length near to others is left out, except for the first
    border, which other conversations share, and the last one, which the next turn shares.
    """
    last = len(prompt.tokens) - 1
    borders = [border for border in sorted(prompt.borders) if cached < border < last]
    shared = [prompt.shared.length] if cached < prompt.shared.length < last else []
    kept = {*borders[-1:], *shared}
    if borders and borders[0] >= cached + _CHECKPOINT_GAP:
        kept.add(borders[0])
    regular = range(_CHECKPOINT_STEP, last, _CHECKPOINT_STEP)
    for length in (*reversed(borders), *(length for length in regular if length > cached)):
        if all(abs(length - other) >= _CHECKPOINT_GAP for other in (cached, *kept)):
            kept.add(length)
    return sorted(kept)


def make_checkpoint(layers: list[Any]) -> Checkpoint:
    """Return a copy of the layers that cannot be cut. It shares no memory with a batch."""
    twin = twin_of(layers)
    kept = [_frozen(layer) for layer in layers]
    arrays = list(_arrays(kept))
    mx.eval(arrays)
    nbytes = sum(int(array.nbytes) for array in arrays)
    return Checkpoint(kept, nbytes, twin.call("checkpoint") if twin is not None else None)


def cut(layers: list[Any], excess: int, checkpoint: Checkpoint | None) -> RowCache:
    """Return a copy of a KV cache without its last `excess` tokens.

    Attention layers share their memory with the original. `checkpoint` has the other layers at that
    length; None if all of them can be cut.
    """
    twin = twin_of(layers)
    if twin is not None:
        kept_twin = checkpoint.twin if checkpoint is not None else None
        twin = twin.call("cut", () if kept_twin is None else (kept_twin,), (excess,))
    held = checkpoint.layers if checkpoint is not None else [None] * len(layers)
    parts = (_cut(layer, excess, kept) for layer, kept in zip(layers, held, strict=True))
    return RowCache(parts, twin)


def shortened(layers: list[Any], kept: int, length: int) -> RowCache:
    """Return a copy of the first `kept` of `length` tokens, in memory of its own.

    All layers must be such that can be cut.
    """
    rest = cut(layers, length - kept, None)
    compact(rest, kept)
    return rest


def compact(layers: list[Any], length: int) -> None:
    """Free the memory behind the first `length` tokens, in place."""
    if (twin := twin_of(layers)) is not None:
        twin.call("compact", (), (length,))
    _compact(layers, length)


def _compact(layers: Sequence[Any], length: int) -> None:
    for layer in layers:
        if type(layer).__name__ == "CacheList":
            _compact(layer.caches, length)
        elif type(layer).__name__ in _CUTTABLE and getattr(layer, "keys", None) is not None:
            layer.keys, layer.values = tree_map(
                lambda array: mx.contiguous(array[..., :length, :]), (layer.keys, layer.values)
            )


def _frozen(layer: Any) -> Any:
    if always_cuttable(layer):
        return None
    kept = copy.copy(layer)
    if type(layer).__name__ == "CacheList":
        kept.caches = tuple(map(_frozen, layer.caches))
    else:
        vars(kept).update({name: tree_map(_own, value) for name, value in vars(layer).items()})
    return kept


def _own(value: Any) -> Any:
    """Return an array that does not keep a larger one in memory, or any other value as it is."""
    return mx.contiguous(value) if isinstance(value, mx.array) else value


def _cut(layer: Any, excess: int, kept: Any) -> Any:
    if kept is not None and type(layer).__name__ == "CacheList":
        cut_list = copy.copy(layer)
        parts = zip(layer.caches, kept.caches, strict=True)
        cut_list.caches = tuple(_cut(part, excess, held) for part, held in parts)
        return cut_list
    layer = copy.deepcopy(layer if kept is None else kept)
    if kept is None and excess:
        layer.trim(excess)
    return layer


def _arrays(kept: Sequence[Any]) -> Iterator[mx.array]:
    for layer in kept:
        if type(layer).__name__ == "CacheList":
            yield from _arrays(layer.caches)
        elif layer is not None:
            for _, value in tree_flatten(vars(layer)):
                if isinstance(value, mx.array):
                    yield value
