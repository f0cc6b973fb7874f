"""Texts to unit vectors, a padded batch at a time, so that others go on decoding."""

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backend import Backend, Vectors
from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.messages import Embed, Embedded


class Embedding:
    """One `Embed` command at work.

    Parameters
    ----------
    command, inputs
        What was asked, and its texts as tokens.
    limit
        Most tokens of one input.
    chunk
        Most tokens of one batch, padding included; a longer input is a batch of its own.

    Raises
    ------
    ContextOverflow
        If an input is too long, naming it.
    """

    def __init__(self, command: Embed, inputs: list[list[int]], limit: int, chunk: int):
        for index, tokens in enumerate(inputs):
            if len(tokens) > limit:
                raise ContextOverflow(
                    f"Input {index} has {len(tokens)} tokens, and {command.model} takes {limit} "
                    "at most.",
                    f"input[{index}]" if len(inputs) > 1 else "input",
                )
        self.id = command.id
        self.command = command
        self._inputs, self._chunk = inputs, chunk
        self._vectors = [b""] * len(inputs)
        # Of about one length, a batch has little padding; the longest wait at the end.
        self._left = sorted(range(len(inputs)), key=lambda index: -len(inputs[index]))

    def step(self, backend: Backend) -> Embedded | None:
        """Embed the next batch; the answer after the last one.

        Raises
        ------
        InvalidRequest
            If the model gives no hidden states, or fewer dimensions than are asked for.
        """
        batch = [self._left.pop()]
        while self._left and len(self._inputs[self._left[-1]]) * (len(batch) + 1) <= self._chunk:
            batch.append(self._left.pop())
        vectors = backend.embed([self._inputs[index] for index in batch])
        size = self.command.dimensions or vectors.shape[1]
        if size > vectors.shape[1]:
            raise InvalidRequest(
                f"this model's embeddings have {vectors.shape[1]} dimensions", "dimensions"
            )
        kept = vectors[:, :size]
        norms = np.linalg.norm(kept, axis=1, keepdims=True)
        units = (kept / np.where(norms == 0, 1, norms)).astype("<f4")
        for index, vector in zip(batch, units, strict=True):
            self._vectors[index] = vector.tobytes()
        if self._left:
            return None
        return Embedded(self.command.id, self._vectors, sum(map(len, self._inputs)))


def mean(model: Any, batch: list[list[int]]) -> Vectors:
    """Mean over positions of a writing model's hidden states before the output head.

    Raises
    ------
    InvalidRequest
        If the model keeps them to itself.
    """
    inner = getattr(model, "model", None)
    if inner is None:
        inner = getattr(getattr(model, "language_model", None), "model", None)
    if inner is None:
        raise InvalidRequest("this model gives no embeddings", "model")
    tokens, mask = padded(batch, 0)
    # What writes looks back only: padding behind a text changes nothing of it.
    hidden = np.array(inner(mx.array(tokens)).astype(mx.float32))
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    means: Vectors = np.einsum("tp,tpd->td", weights, hidden)
    return means


def padded(
    batch: list[list[int]], padding: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Texts as one array, shape (texts, longest), and 1 where a token of theirs stands."""
    shape = len(batch), max(map(len, batch))
    tokens = np.full(shape, padding, np.int32)
    mask = np.zeros(shape, np.int32)
    for row, text in enumerate(batch):
        tokens[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return tokens, mask
