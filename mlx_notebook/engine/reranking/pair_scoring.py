"""Scores by a cross-encoder: query and document are one input, and one number comes out."""

from collections.abc import Generator
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.batching.padding import padded
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.reranking.reranker import (
    Pair,
    Reranker,
    Scores,
    check_texts,
    readable_tokens,
)
from mlx_notebook.engine.sandbox.deadline import current
from mlx_notebook.protocol import Rerank


class PairReranker(Reranker):
    """Scores by a model for sequence classification with one output.

    Parameters
    ----------
    model
        One of mlx-vlm's `SequenceClassificationModel`.
    tokenizer
        Its tokenizer, as mlx-lm wraps it.
    limit
        How long its inputs may be.
    padding
        The token that fills shorter inputs.
    types
        Whether the model tells the two texts apart by types of tokens.

    Raises
    ------
    ValueError
        If the tokenizer does not say which tokens are the document's.
    """

    def __init__(
        self, model: Any, tokenizer: Any, limit: LengthLimit, padding: int, *, types: bool
    ):
        self._model, self._tokenizer = model, tokenizer._tokenizer
        self._limit, self._padding, self._types = limit, padding, types
        if not getattr(self._tokenizer, "is_fast", False):
            raise ValueError("there is no tokenizer.json in its folder, and rerankers need one.")

    def pairs(self, command: Rerank) -> list[Pair]:
        """Tokenize the query with each document."""
        if command.instruction is not None:
            raise InvalidRequest(
                f"{command.model} takes no instruction: leave it out, or use a model such as "
                "Qwen3-Reranker.",
                "instruction",
            )
        check_texts(command, self._limit.relaxed)
        return [self._pair(command, index) for index in range(len(command.documents))]

    def _pair(self, command: Rerank, index: int) -> Pair:
        current().check()
        (encoding,) = self._tokenizer(command.query, command.documents[index]).encodings
        places = [place for place, text in enumerate(encoding.sequence_ids) if text == 1]
        wanted, kept = readable_tokens(
            *(command, index),
            document=len(places),
            others=len(encoding.ids) - len(places),
            limit=self._limit.tokens,
        )
        cut = set(places[kept:])
        left = [place for place in range(len(encoding.ids)) if place not in cut]
        return Pair(
            [encoding.ids[place] for place in left],
            [encoding.type_ids[place] for place in left],
            wanted,
            kept,
        )

    def score(self, batch: list[Pair], chunk: int) -> Generator[None, None, Scores]:
        """Return the score of each pair. The model reads both ways, so it reads them whole."""
        tokens, mask = padded([pair.tokens for pair in batch], self._padding)
        inputs = {"attention_mask": mx.array(mask)}
        if self._types:
            inputs["token_type_ids"] = mx.array(padded([pair.types for pair in batch], 0)[0])
        yield from ()
        logits = self._model(mx.array(tokens), **inputs).logits
        return np.array(logits[:, 0].astype(mx.float32))
