"""Scores the documents of one command, a batch or a piece of a long document at a time.

Between two pieces the scheduler does the steps of other requests.
"""

from collections.abc import Generator

import numpy as np

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.reranking.reranker import Pair, Reranker, Scores
from mlx_notebook.protocol import Rerank, Reranked


class RerankingJob:
    """The work of one `Rerank` command.

    Parameters
    ----------
    command, reranker
        The command, and what scores with its model.
    pairs
        The query with each document, as tokens.
    chunk
        Most tokens of one batch, padding included. A longer pair is a batch of its own.
    """

    def __init__(self, command: Rerank, reranker: Reranker, pairs: list[Pair], chunk: int):
        self.id, self.user, self.patient = command.id, command.user, False
        self._reranker, self._pairs, self._chunk = reranker, pairs, chunk
        self._scores = np.zeros(len(pairs), np.float32)
        # Pairs of similar length share a batch, which needs little padding. The shortest are last.
        self._left = sorted(range(len(pairs)), key=lambda index: -len(pairs[index].tokens))
        self._batch: list[int] = []
        self._work: Generator[None, None, Scores] | None = None

    def step(self) -> Reranked | None:
        """Score the next batch or a piece of it; return the answer after the last one.

        Raises
        ------
        EngineError
            If the model gives scores that are no numbers.
        """
        if self._work is None:
            self._batch = self._next_batch()
            batch = [self._pairs[index] for index in self._batch]
            self._work = self._reranker.score(batch, self._chunk)
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            self._scores[self._batch] = end.value
        if self._left or self._work is not None:
            return None
        if not np.isfinite(self._scores).all():
            raise EngineError("the model gave scores that are no numbers: its weights are damaged")
        truncated = [
            (index, pair.wanted, pair.kept)
            for index, pair in enumerate(self._pairs)
            if pair.kept < pair.wanted
        ]
        tokens = sum(len(pair.tokens) for pair in self._pairs)
        return Reranked(self.id, self._scores.tolist(), tokens, truncated)

    def _next_batch(self) -> list[int]:
        batch = [self._left.pop()]
        while (
            self._left and len(self._pairs[self._left[-1]].tokens) * (len(batch) + 1) <= self._chunk
        ):
            batch.append(self._left.pop())
        return batch
