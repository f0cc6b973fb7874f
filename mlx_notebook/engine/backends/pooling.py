"""Pools hidden states into vectors, and pads batches of tokens."""

from collections.abc import Generator
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backends.backend import Vectors
from mlx_notebook.engine.batching.hidden_states import HiddenStates
from mlx_notebook.engine.kv_cache.row_cache import Twin


def mean(
    model: Any, batch: list[list[int]], chunk: int, twin: Twin | None = None
) -> Generator[None, None, Vectors]:
    """Return the mean over positions of a language model's last hidden states.

    It computes `chunk` positions at a time and yields between them.

    Parameters
    ----------
    twin
        The model on the other ranks; None if there is one rank.

    Raises
    ------
    InvalidRequest
        If the model's class does not give access to its hidden states.
    """
    # A language model attends to earlier tokens only: padding after a text does not change it.
    tokens, mask = padded(batch, 0)
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    positions = tokens.shape[1]
    states = HiddenStates(model, positions > chunk, twin)
    means: Vectors = np.zeros(1, np.float32)
    for begin in range(0, positions, chunk):
        if begin:
            yield
        piece = slice(begin, begin + chunk)
        hidden = states.next(tokens[:, piece]).astype(mx.float32)
        means = means + np.einsum("tp,tpd->td", weights[:, piece], np.array(hidden))
    return means


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
