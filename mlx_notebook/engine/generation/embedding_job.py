"""Embeds the texts of one command, a batch or a piece of a long text at a time.

Between two pieces the scheduler does the steps of other requests.
"""

from collections.abc import Generator, Sequence

import numpy as np

from mlx_notebook.engine.backends.backend import Backend, PreparedChat, Vectors
from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.protocol import Embed, Embedded


class EmbeddingJob:
    """The work of one `Embed` command.

    Parameters
    ----------
    command, backend
        The command and the model to run it on.
    inputs
        Its texts or chats as tokens.
    chunk
        Most tokens of one batch, padding included. A longer text is a batch of its own; where the
        model allows it, it is computed in pieces of this many tokens.
    chats
        Its chats. Each is a batch of its own.

    Raises
    ------
    ContextOverflow
        If an input is too long for the model.
    """

    def __init__(
        self,
        command: Embed,
        backend: Backend,
        inputs: list[list[int]],
        chunk: int,
        chats: Sequence[PreparedChat] = (),
    ):
        limit = backend.context_length
        for index, tokens in enumerate(inputs):
            if len(tokens) > limit:
                raise ContextOverflow(
                    f"Input {index} has {len(tokens)} tokens, and {command.model} takes {limit} "
                    "at most.",
                    f"input[{index}]" if len(inputs) > 1 else "input",
                )
        self.id, self.user, self.patient = command.id, command.user, command.patient
        self._command, self._backend = command, backend
        self._inputs, self._chunk, self._chats = inputs, chunk, chats
        self._vectors = [b""] * len(inputs)
        # Texts of similar length share a batch, which needs little padding. The shortest are last.
        self._left = sorted(range(len(inputs)), key=lambda index: -len(inputs[index]))
        self._batch: list[int] = []
        self._work: Generator[None, None, Vectors] | None = None

    def step(self) -> Embedded | None:
        """Embed the next batch or a piece of it; return the answer after the last one.

        Raises
        ------
        InvalidRequest
            If the model gives no hidden states, or fewer dimensions than the command asks for.
        """
        if self._chats:
            self._batch = [self._left.pop()]
            self._store(self._chats[self._batch[0]].embed())
        elif self._work is None:
            self._batch = self._next_batch()
            batch = [self._inputs[index] for index in self._batch]
            self._work = self._backend.embed(batch, self._chunk)
        if self._work is not None:
            try:
                next(self._work)
            except StopIteration as end:
                self._work = None
                self._store(end.value)
        if self._left or self._work is not None:
            return None
        return Embedded(self.id, self._vectors, sum(map(len, self._inputs)))

    def _next_batch(self) -> list[int]:
        batch = [self._left.pop()]
        while self._left and len(self._inputs[self._left[-1]]) * (len(batch) + 1) <= self._chunk:
            batch.append(self._left.pop())
        return batch

    def _store(self, vectors: Vectors) -> None:
        """Cut the batch's vectors to the dimensions asked for and scale them to length 1."""
        size = self._command.dimensions or vectors.shape[1]
        if size > vectors.shape[1]:
            raise InvalidRequest(
                f"this model's embeddings have {vectors.shape[1]} dimensions", "dimensions"
            )
        cut = vectors[:, :size]
        norms = np.linalg.norm(cut, axis=1, keepdims=True)
        units = (cut / np.where(norms == 0, 1, norms)).astype("<f4")
        for index, vector in zip(self._batch, units, strict=True):
            self._vectors[index] = vector.tobytes()
