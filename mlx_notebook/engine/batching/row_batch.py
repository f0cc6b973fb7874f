"""The rows that decode: a step computes the next token of each, or several where they are known.

A step feeds the tokens of the last one while they are still being computed, so that the device is
never idle. Where a row's constraint forces tokens, they are fed together in one step.
"""

import time
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.batching.batch_row import BatchRow, NewToken
from mlx_notebook.engine.batching.speculation import Speculation
from mlx_notebook.engine.batching.verification import DraftedRow, choose
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.kv_cache.ragged import MOST_FED, RowPositions
from mlx_notebook.engine.sampling.sampler import BatchSampler, TokenReport

WIDTHS = (1, 2, 4, 8, 16, MOST_FED)
"""Numbers of tokens to which steps are padded on CUDA."""

Report = TokenReport | None


class RowBatch:
    """Rows that decode together.

    Parameters
    ----------
    model
        Called with tokens and KV caches, it returns logits.

    Attributes
    ----------
    rows
        In the order of the arrays.
    speculation
        Drafts tokens, if the model uses speculative decoding.
    """

    def __init__(self, model: Any):
        self.rows: list[BatchRow] = []
        self.speculation: Speculation | None = None
        self._model = model
        self._cache = BatchCache([])
        self._sampler = BatchSampler()
        self._next = mx.zeros((0,), mx.uint32)
        self._reports: list[Report] = []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the KV caches, and of the draft model's."""
        drafts = self.speculation.nbytes if self.speculation is not None else 0
        return self._cache.nbytes + drafts

    def join(self, rows: Sequence[BatchRow], cache: BatchCache) -> None:
        """Add rows, which know their next token, with their KV caches, which are used up."""
        self._next = mx.concatenate([self._next, mx.zeros((len(rows),), mx.uint32)])
        self._reports.extend([None] * len(rows))
        self._cache.extend(cache)
        self.rows.extend(rows)

    def remove(self, rows: Sequence[BatchRow]) -> None:
        """Remove rows."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self._cache.keep(kept)
        self.rows = [self.rows[index] for index in kept]
        self._reports = [self._reports[index] for index in kept]
        self._next = self._next[mx.array(kept, mx.int32)] if kept else mx.zeros((0,), mx.uint32)

    def extract(self, row: BatchRow) -> list[Any]:
        """Return a copy of a row's KV caches, which hold its `tokens`."""
        return self._cache.extract(self.rows.index(row))

    def step(self) -> list[NewToken]:
        """Start to compute the next tokens; return those that are fed, which are computed."""
        if self.speculation is not None and self._cache.ragged:
            count = self.speculation.count(self.rows)
            if count:
                self._settle()
                began = time.perf_counter()
                drafts = self.speculation.drafts(self.rows, count)
                if any(drafts):
                    return self._check(drafts, began)
        # A step whose tokens are known does not wait for the one before it: its time says nothing.
        rows, waits = len(self.rows), not any(row.known for row in self.rows)
        began = time.perf_counter()
        new = self._plain_step()
        if self.speculation is not None and waits:
            self.speculation.timed(rows, 1, time.perf_counter() - began, rows)
        return new

    def _plain_step(self) -> list[NewToken]:
        counts = self._counts()
        inputs = self._inputs(counts)
        logits = self._cache.feed(self._model, inputs, counts)
        last = _last(inputs, counts)
        logits = logits[:, 0] if logits.shape[1] == 1 else _last(logits, counts)
        settings = [row.settings for row in self.rows]
        fed: list[list[int]] | None = None
        if any(setting.constraint is not None for setting in settings):
            # The masks depend on the tokens fed: wait for them while the model computes.
            mx.async_eval(logits)
            fed = self._take(counts)
        if max(counts) > 1:
            for setting, count in zip(settings, counts, strict=True):
                setting.position += count - 1
            self._sampler.forget()
        known = {i: row.known[0] for i, row in enumerate(self.rows) if fed and row.known}
        tokens, reports = self._sampler(settings, last, logits, known)
        mx.async_eval(tokens, [report for report in reports if report is not None])
        if fed is None:
            fed = self._take(counts)
        self._next, reported, self._reports = tokens, self._reports, reports
        return self._finish(fed, reported)

    def _check(self, drafts: list[list[int]], began: float) -> list[NewToken]:
        """Feed drafted tokens too; return those that the rows would have chosen themselves."""
        rows = [DraftedRow(row, draft) for row, draft in zip(self.rows, drafts, strict=True)]
        counts = [len(row.tokens) for row in rows]
        inputs = np.zeros((len(rows), self._width(counts)), np.uint32)
        for i, drafted in enumerate(rows):
            inputs[i, : counts[i]] = drafted.tokens
        logits = self._cache.feed(self._model, mx.array(inputs), counts)
        mx.async_eval(logits)
        for drafted in rows:
            drafted.look_ahead(logits.shape[-1])
        fed = [
            drafted.accept(chosen)
            for drafted, chosen in zip(rows, choose(rows, logits), strict=True)
        ]
        self._cache.cut([count - len(tokens) for count, tokens in zip(counts, fed, strict=True)])
        self._sampler.forget()
        assert self.speculation is not None
        for drafted, tokens in zip(rows, fed, strict=True):
            accepted = len(tokens) - drafted.certain
            self.speculation.checked(drafted.row, drafted.tokens, len(drafted.draft), accepted)
        seconds = time.perf_counter() - began
        self.speculation.timed(len(rows), inputs.shape[1], seconds, sum(map(len, fed)))
        return self._finish(fed, [None] * len(rows))

    def _settle(self) -> None:
        """Wait until every row knows its next token."""
        if all(row.known for row in self.rows):
            return
        for row, token in zip(self.rows, self._next.tolist(), strict=True):
            row.known = row.known or [token]

    def _counts(self) -> list[int]:
        """Return how many tokens to feed of each row."""
        several = self._cache.ragged or len(self.rows) == 1
        return [
            min(len(row.known), MOST_FED) if row.known and several and not row.one_by_one else 1
            for row in self.rows
        ]

    def _inputs(self, counts: list[int]) -> mx.array:
        """Return the tokens to feed, shape (rows, L), not evaluated."""
        if not any(row.known for row in self.rows):
            return self._next[:, None]
        width = self._width(counts)
        known = np.zeros((len(self.rows), width), np.uint32)
        computed = np.ones(len(self.rows), np.bool_)
        for i, (row, count) in enumerate(zip(self.rows, counts, strict=True)):
            if row.known:
                known[i, :count], computed[i] = row.known[:count], False
        if not computed.any():
            return mx.array(known)
        first = mx.where(mx.array(computed), self._next, mx.array(known[:, 0]))[:, None]
        return first if width == 1 else mx.concatenate([first, mx.array(known[:, 1:])], axis=1)

    def _width(self, counts: list[int]) -> int:
        """Return how many tokens to feed of every row, padding included."""
        width = max(counts)
        if RowPositions.align > 1 and self._cache.ragged:
            return next(size for size in WIDTHS if size >= width)
        return width

    def _take(self, counts: list[int]) -> list[list[int]]:
        """Wait for the tokens that are fed; return them, and follow the constraints."""
        computed = [] if all(row.known for row in self.rows) else self._next.tolist()
        fed = []
        for i, (row, count) in enumerate(zip(self.rows, counts, strict=True)):
            tokens = row.known[:count] if row.known else [computed[i]]
            row.known = row.known[count:]
            row.follow(tokens[row.ahead :])
            fed.append(tokens)
        return fed

    def _finish(self, fed: list[list[int]], reported: list[Report]) -> list[NewToken]:
        """Return the tokens that are fed, and remove the rows that end with them."""
        new: list[NewToken] = []
        ended: list[BatchRow] = []
        for row, tokens, report in zip(self.rows, fed, reported, strict=True):
            row.tokens.extend(tokens)
            if self.speculation is not None:
                self.speculation.added(row, tokens)
            generated, row.ahead = tokens[row.ahead :], 0
            for token in generated:
                row.generated += 1
                finish = "stop" if token in row.ends else None if row.room else "length"
                if finish is None:
                    new.append(NewToken(row.uid, token, report))
                    continue
                cache = self.extract(row)
                new.append(NewToken(row.uid, token, report, finish, row.tokens, cache))
                ended.append(row)
                break
        if ended:
            # All at once, and before the batch is changed, whose arrays they would keep.
            mx.eval([layer.state for token in new for layer in token.cache])
            self.remove(ended)
        return new


def _last(array: mx.array, counts: list[int]) -> mx.array:
    """Return what belongs to the last token fed of each row; `array` has shape (rows, L, ...)."""
    if max(counts) == 1:
        return array[:, 0]
    return array[mx.arange(len(counts)), mx.array(counts, mx.int32) - 1]
