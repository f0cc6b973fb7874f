"""Texts to unit vectors, a padded batch or a piece of one at a time: others go on decoding."""

from collections.abc import Generator

import numpy as np

from mlx_notebook.engine.backends.backend import Backend, Vectors
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
