"""Pools hidden states into vectors."""

from collections.abc import Generator
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.backends.backend import Vectors
from mlx_notebook.engine.batching.hidden_states import HiddenStates
from mlx_notebook.engine.batching.padding import padded
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
