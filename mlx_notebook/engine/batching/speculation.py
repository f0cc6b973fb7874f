"""Speculative decoding of a batch: who drafts, for which rows, and whether it pays."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import mlx.core as mx

from mlx_notebook.engine.batching.batch_row import BatchRow
from mlx_notebook.engine.speculative.draft_pace import DraftPace
from mlx_notebook.engine.speculative.drafts import DraftModel
from mlx_notebook.engine.speculative.prompt_lookup import RowLookup

MOST_ROWS = 8
"""Batches with more rows decode without drafts."""


class Speculation:
    """Drafts tokens for the rows of a batch, where that has been fast enough so far.

    Parameters
    ----------
    draft_model
        Drafts for a row that runs alone, where prompt lookup has nothing.
    lookup
        Most tokens that prompt lookup drafts; 0 for no prompt lookup.
    """

    def __init__(self, draft_model: DraftModel | None, lookup: int):
        self._draft_model, self._limit = draft_model, lookup
        self._lookups: WeakKeyDictionary[BatchRow, RowLookup] = WeakKeyDictionary()
        self._pace = DraftPace()
        self._model_drafted = False

    @property
    def nbytes(self) -> int:
        """Bytes of the draft model's KV cache."""
        return self._draft_model.nbytes if self._draft_model is not None else 0

    def count(self, rows: Sequence[BatchRow]) -> int:
        """Return how many tokens to draft for each row in the next step; 0 for none."""
        if len(rows) > MOST_ROWS or any(row.one_by_one or len(row.known) > 1 for row in rows):
            return 0
        if self._limit:
            lookups = [self._lookup(row) for row in rows]
            if any(lookup.expected(1) for lookup in lookups):
                count = self._pace.width(
                    lambda count: [lookup.expected(count) for lookup in lookups], len(rows)
                )
                if count:
                    return count
        if self._draft_model is not None and len(rows) == 1:
            return self._draft_model.length.next()
        return 0

    def drafts(self, rows: Sequence[BatchRow], count: int) -> list[list[int]]:
        """Return up to `count` drafted tokens for each row, after its known ones."""
        found = [self._looked_up(row, count) for row in rows]
        self._model_drafted = False
        if any(found) or self._draft_model is None or len(rows) > 1:
            return found
        (row,) = rows
        count = min(count, row.room - len(row.known[row.ahead :]))
        if count <= 0 or len(row.known) != 1:
            return [[]]
        self._model_drafted = True
        last = mx.array(row.known, mx.uint32)
        drafted = self._draft_model.draft(row.settings, row.tokens, last, count, row.user)
        return [drafted.tolist() if drafted is not None else []]

    def added(self, row: BatchRow, tokens: Sequence[int]) -> None:
        """Record the tokens that were fed of a row."""
        lookup = self._lookups.get(row)
        if lookup is not None:
            lookup.extend(list(tokens))

    def checked(self, row: BatchRow, fed: list[int], drafted: int, accepted: int) -> None:
        """Record how many of the last `drafted` tokens that were fed have been accepted."""
        if not drafted:
            return
        if not self._model_drafted:
            self._lookup(row).verified(drafted, accepted)
        elif self._draft_model is not None:
            self._draft_model.checked(fed)
            self._draft_model.length.update(drafted, accepted)

    def timed(self, rows: int, width: int, seconds: float, tokens: int) -> None:
        """Record the duration of a step.

        Parameters
        ----------
        width
            Most tokens of a row that it fed.
        tokens
            Tokens of all rows that it fed for good.
        """
        if width == 1:
            self._pace.plain(rows, seconds)
        elif not self._model_drafted:
            self._pace.verified(rows, width, seconds, tokens)

    def _lookup(self, row: BatchRow) -> RowLookup:
        lookup = self._lookups.get(row)
        if lookup is None:
            lookup = self._lookups[row] = RowLookup(list(row.tokens), self._limit)
        return lookup

    def _looked_up(self, row: BatchRow, count: int) -> list[int]:
        room = min(count, row.room - len(row.known[row.ahead :]))
        if not self._limit or room <= 0 or len(row.known) != 1:
            return []
        return self._lookup(row).draft(room, row.known[0])
