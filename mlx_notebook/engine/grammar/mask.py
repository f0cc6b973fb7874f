"""Apply packed token masks to logits."""

from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

ALL_ALLOWED = 0xFFFFFFFF
"""A word of a mask that allows every token."""


def words(width: int) -> int:
    """Return how many 32-bit words hold a bit for each of `width` tokens."""
    return (width + 31) // 32


def apply(logits: mx.array, masks: npt.NDArray[np.uint32]) -> mx.array:
    """Return `logits` with minus infinity for every token whose bit is 0. Not evaluated.

    `logits` has shape (rows, width), `masks` (rows, words(width)). On a GPU, one kernel unpacks the
    bits. On a CPU numpy does, because MLX would have to compile C++ for each number of rows.
    """
    rows, width = logits.shape
    if masks.shape != (rows, words(width)):
        raise ValueError(f"Masks of shape {masks.shape} do not fit logits of shape {logits.shape}.")
    if mx.default_device() == mx.Device(mx.gpu):
        return _unpacking()(logits, mx.array(masks))
    bits = np.unpackbits(masks.view(np.uint8), axis=-1, bitorder="little")[:, :width]
    return mx.where(mx.array(bits.view(np.bool_)), logits, -mx.inf)


def unpack(logits: mx.array, masks: mx.array) -> mx.array:
    """Do the same as `apply` with MLX operations alone. `masks` are uint32."""
    rows, width = logits.shape
    bits = (masks[:, :, None] >> mx.arange(32, dtype=mx.uint32)) & mx.array(1, mx.uint32)
    return mx.where(bits.reshape(rows, -1)[:, :width].astype(mx.bool_), logits, -mx.inf)


@cache
def _unpacking() -> Any:
    return mx.compile(unpack)
