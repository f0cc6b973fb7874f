"""Texts to vectors: the normalised mean of a model's last hidden states."""

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.backend import Backend
from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.messages import Embed, Embedded


class Embedding:
    """One `Embed` command at work; each `step` embeds one input, so that others go on decoding."""

    def __init__(self, command: Embed, inputs: list[list[int]]):
        self.id = command.id
        self.command = command
        self._inputs = inputs
        self._vectors: list[bytes] = []

    def step(self, backend: Backend) -> Embedded | None:
        """Embed the next input; the answer after the last one.

        Raises
        ------
        InvalidRequest, ContextOverflow
            If the model gives no hidden states, or an input is longer than its context.
        """
        tokens = self._inputs[len(self._vectors)]
        if len(tokens) > backend.context_length:
            raise ContextOverflow(
                f"input {len(self._vectors)} has {len(tokens)} tokens, and this model's context "
                f"is {backend.context_length}.",
                "input",
            )
        vector = _mean(backend.model, tokens)
        size = self.command.dimensions
        if size is not None:
            if size > len(vector):
                raise InvalidRequest(
                    f"this model's embeddings have {len(vector)} dimensions", "dimensions"
                )
            vector = vector[:size]
        norm = float(np.linalg.norm(vector)) or 1.0
        self._vectors.append((vector / norm).astype("<f4").tobytes())
        if len(self._vectors) < len(self._inputs):
            return None
        return Embedded(self.command.id, self._vectors, sum(map(len, self._inputs)))


def _mean(model: Any, tokens: list[int]) -> np.ndarray:
    """Mean over positions of the hidden states before the output head, shape (hidden size,)."""
    inner = getattr(model, "model", None)
    if inner is None:
        raise InvalidRequest("this model gives no embeddings", "model")
    hidden = inner(mx.array([tokens]))
    return np.array(hidden[0].astype(mx.float32).mean(axis=0))
