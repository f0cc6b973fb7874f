"""Texts to unit vectors, a padded batch or a piece of one at a time: others go on decoding."""

from collections.abc import Generator
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import make_prompt_cache

from mlx_notebook.engine.backend import Backend, Vectors
from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.protocol import Embed, Embedded


class Embedding:
    """One `Embed` command at work.

    Parameters
    ----------
    command, inputs
        What was asked, and its texts as tokens.
    limit
        Most tokens of one input.
    chunk
        Most tokens of one batch, padding included; a longer input is a batch of its own, and
        computed in pieces of so many where the model allows it.

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
        self._batch: list[int] = []
        self._work: Generator[None, None, Vectors] | None = None

    def step(self, backend: Backend) -> Embedded | None:
        """Embed the next batch, or a piece of it; the answer after the last one.

        Raises
        ------
        InvalidRequest
            If the model gives no hidden states, or fewer dimensions than are asked for.
        """
        if self._work is None:
            self._batch = self._next_batch()
            self._work = backend.embed([self._inputs[index] for index in self._batch], self._chunk)
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            self._take(end.value)
        if self._left or self._work is not None:
            return None
        return Embedded(self.command.id, self._vectors, sum(map(len, self._inputs)))

    def _next_batch(self) -> list[int]:
        batch = [self._left.pop()]
        while self._left and len(self._inputs[self._left[-1]]) * (len(batch) + 1) <= self._chunk:
            batch.append(self._left.pop())
        return batch

    def _take(self, vectors: Vectors) -> None:
        size = self.command.dimensions or vectors.shape[1]
        if size > vectors.shape[1]:
            raise InvalidRequest(
                f"this model's embeddings have {vectors.shape[1]} dimensions", "dimensions"
            )
        kept = vectors[:, :size]
        norms = np.linalg.norm(kept, axis=1, keepdims=True)
        units = (kept / np.where(norms == 0, 1, norms)).astype("<f4")
        for index, vector in zip(self._batch, units, strict=True):
            self._vectors[index] = vector.tobytes()


def mean(model: Any, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
    """Mean over positions of a writing model's hidden states before the output head.

    Computes `chunk` positions at a time.

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
    # What writes looks back only: padding behind a text changes nothing of it.
    tokens, mask = padded(batch, 0)
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    positions = tokens.shape[1]
    cache = make_prompt_cache(model) if positions > chunk else None
    means: Vectors = np.zeros(1, np.float32)
    for begin in range(0, positions, chunk):
        if begin:
            yield
        piece = slice(begin, begin + chunk)
        hidden = inner(mx.array(tokens[:, piece]), cache=cache).astype(mx.float32)
        means = means + np.einsum("tp,tpd->td", weights[:, piece], np.array(hidden))
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
