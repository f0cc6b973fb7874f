"""Pads batches of tokens, for models that read whole texts at once."""

import numpy as np
import numpy.typing as npt


def padded(
    batch: list[list[int]], padding: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return texts as one array, shape (texts, longest), and a mask: 1 for tokens, else 0."""
    shape = len(batch), max(map(len, batch))
    tokens = np.full(shape, padding, np.int32)
    mask = np.zeros(shape, np.int32)
    for row, text in enumerate(batch):
        tokens[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return tokens, mask
