"""Prompts that are computed together, a chunk at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.batching.batch_row import BatchRow, PromptProgress
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache


class PromptGroup:
    """Rows whose prompts are computed in one batch.

    Parameters
    ----------
    model
        Called with tokens and KV caches, it returns logits.
    rows
        Their caches are used up.
    padded
        Returns the numbers of rows and of tokens to which a chunk is padded.
    empty_cache
        Returns the caches of a row of padding.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[BatchRow],
        padded: Callable[[int, int], tuple[int, int]],
        empty_cache: Callable[[], list[Any]],
    ):
        self.rows = list(rows)
        self._model, self._padded = model, padded
        self._cache = BatchCache([row.cache for row in rows])
        if self._cache.ragged:
            count, _ = padded(len(rows), 1)
            self._cache.extend(BatchCache([empty_cache() for _ in range(count - len(rows))]))
        for row in rows:
            row.cache = []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def urgent(self) -> bool:
        """Whether one of the rows is urgent."""
        return any(row.urgent for row in self.rows)

    @property
    def patient(self) -> bool:
        """Whether nobody waits for any of the rows."""
        return all(row.patient for row in self.rows)

    @property
    def left(self) -> int:
        """Tokens of the longest prompt that are still to compute."""
        return max((row.left for row in self.rows), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of the KV caches."""
        return self._cache.nbytes

    def compute(self, most: int) -> tuple[list[PromptProgress], int]:
        """Compute the next tokens of each prompt, at most `most` and none past its segment.

        Returns
        -------
        progress, tokens
            What is computed now, and how many tokens were fed, padding included.
        """
        parts = [row.segments[0][:most] if row.left else [] for row in self.rows]
        counts = [len(part) for part in parts]
        width = max(counts)
        if self._cache.ragged:
            counts += [0] * (len(self._cache) - len(counts))
            _, width = self._padded(len(counts), width)
        inputs = np.zeros((len(counts), width), np.uint32)
        for i, part in enumerate(parts):
            inputs[i, : len(part)] = part
        self._cache.feed(self._model, mx.array(inputs), counts, only_state=True)
        mx.eval(self._cache.state)
        progress = []
        for row, part in zip(self.rows, parts, strict=True):
            row.tokens.extend(part)
            row.segments[0] = row.segments[0][len(part) :]
            ended = not row.segments[0]
            if ended:
                row.segments.pop(0)
            done = row.total - row.left - 1
            progress.append(PromptProgress(row.uid, done, ended, False))
        return progress, inputs.size

    def take_computed(self) -> tuple[list[BatchRow], BatchCache]:
        """Take the rows out whose prompts are computed, with their KV caches."""
        done = [index for index, row in enumerate(self.rows) if not row.left]
        rows = [self.rows[index] for index in done]
        if not rows:
            return [], BatchCache([])
        cache = self._cache.split(done)
        if len(done) == len(self.rows):
            self._cache = BatchCache([])
        self.rows = [row for row in self.rows if row.left]
        return rows, cache

    def remove(self, rows: Sequence[BatchRow]) -> None:
        """Remove rows."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        self._cache.keep([*kept, *range(len(self.rows), len(self._cache))] if kept else [])
        self.rows = [self.rows[index] for index in kept]

    def extract(self, row: BatchRow) -> list[Any]:
        """Return a copy of a row's KV caches, which hold its `tokens`."""
        return self._cache.extract(self.rows.index(row))
