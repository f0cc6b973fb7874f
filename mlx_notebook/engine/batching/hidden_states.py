"""The last hidden states of texts, for embeddings."""

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import make_prompt_cache

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.kv_cache.row_cache import Twin


class HiddenStates:
    """Computes the last hidden states of a batch of texts.

    Parameters
    ----------
    model
        A language model.
    in_chunks
        Whether the texts come in several chunks.
    twin
        The model on the other ranks; None if there is one rank.

    Raises
    ------
    InvalidRequest
        If the model's class does not give access to its hidden states.
    """

    def __init__(self, model: Any, in_chunks: bool, twin: Twin | None = None):
        inner = getattr(model, "model", None)
        if inner is None:
            inner = getattr(getattr(model, "language_model", None), "model", None)
        if inner is None:
            raise InvalidRequest("this model gives no embeddings", "model")
        self._inner = inner
        self._cache = make_prompt_cache(model) if in_chunks else None
        self._twin = twin.call("hidden", (), (in_chunks,)) if twin is not None else None

    def next(self, tokens: npt.NDArray[np.int32]) -> mx.array:
        """Return the hidden states of the next tokens, shape (texts, L, dimensions)."""
        if self._twin is not None:
            self._twin.call("next_hidden", (), (len(tokens), *tokens.flatten().tolist()))
        states: mx.array = self._inner(mx.array(tokens), cache=self._cache)
        return states
