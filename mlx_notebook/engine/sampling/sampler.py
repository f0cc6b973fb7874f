"""The sampler: chooses the next token of every row of a batch in one pass.

Each row has a random stream that depends only on its seed and position. So a request gets the same
text alone and in a batch. The filters follow mlx-lm's `make_sampler`: top-p, min-p and top-k apply
to the model's own distribution, typical-p and XTC to what is left of it, then the temperature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.grammar.mask import ALL_ALLOWED, apply, words
from mlx_notebook.engine.sampling.batch_settings import BatchSettings
from mlx_notebook.engine.sampling.filters import apply_top_filters, apply_typical_p, apply_xtc
from mlx_notebook.engine.sampling.penalties import apply_penalties
from mlx_notebook.engine.sampling.row import Row

_noise = mx.vmap(lambda key, like: mx.random.gumbel(like.shape, mx.float32, key))


class TokenReport(NamedTuple):
    """What a row with log probabilities learns of a token, in the model's own distribution.

    Attributes
    ----------
    logprob
        Of the token. A scalar.
    ids, values
        The most likely tokens and their log probabilities.
    entropy
        Of the distribution, in nats. A scalar.
    forced
        Whether the constraint allowed no other token.
    """

    logprob: mx.array
    ids: mx.array
    values: mx.array
    entropy: mx.array
    forced: bool


class BatchSampler:
    """Chooses one token for each row. It keeps the settings as arrays while the rows stay."""

    def __init__(self) -> None:
        self._settings = BatchSettings([])

    def forget(self) -> None:
        """Forget the rows, because their positions were changed elsewhere."""
        self._settings = BatchSettings([])

    def settings(self, rows: list[Row]) -> BatchSettings:
        """Return the settings of these rows."""
        if not self._settings.are_of(rows):
            self._settings = BatchSettings(rows)
        return self._settings

    def __call__(
        self,
        rows: list[Row],
        inputs: mx.array,
        logits: mx.array,
        known: Mapping[int, int] = MappingProxyType({}),
    ) -> tuple[mx.array, list[TokenReport | None]]:
        """Choose the next token of each row, and advance the rows' positions by one.

        Parameters
        ----------
        rows
            One for each row of the batch, in its order.
        inputs
            The tokens fed in this step, shape (B,). Penalties count them.
        logits
            Shape (B, vocabulary).
        known
            The next tokens that are known already, by the index of their rows. For these rows,
            another token may be returned, and the log probabilities are those of the known one.

        Returns
        -------
        tokens
            Shape (B,), not evaluated.
        reports
            One for each row with log probabilities, not evaluated.
        """
        settings = self.settings(rows)
        raw = logits
        if settings.adjusted:
            logits = apply_penalties(rows, settings.adjusted, inputs, logits)
        if settings.constrained:
            open_rows = [i for i in settings.constrained if i not in known]
            logits = _constrain(rows, open_rows, logits)
        tokens = _choose(settings, logits)
        if not settings.greedy:
            settings.keys = settings.keys + settings.next_key
        for row in rows:
            row.position += 1
        reports: list[TokenReport | None] = [None] * len(rows)
        for i in settings.reported:
            token = mx.array(known[i]) if i in known else tokens[i]
            reports[i] = _report(raw[i], token, rows[i].logprobs or 0, forced=i in known)
        return tokens, reports


def choose_at(rows: Sequence[Row], skipped: Sequence[int], logits: mx.array) -> mx.array:
    """Return the tokens that rows would choose at some positions, which do not change.

    The rows must have no penalties. A constraint must be applied to the logits already.

    Parameters
    ----------
    rows, skipped
        The row of each position, and how many tokens before it the row has not chosen yet.
    logits
        Shape (L, vocabulary), one for each position.

    Returns
    -------
    Shape (L,), not evaluated.
    """
    if all(row.temperature <= 0 for row in rows):
        return mx.argmax(logits, axis=-1)
    moved = [
        replace(row, position=row.position + count)
        for row, count in zip(rows, skipped, strict=True)
    ]
    return _choose(BatchSettings(moved), logits)


def _choose(settings: BatchSettings, logits: mx.array) -> mx.array:
    if settings.greedy:
        return mx.argmax(logits, axis=-1)
    scores = logits.astype(mx.float32)
    if settings.uses_top_filters:
        scores = apply_top_filters(scores, settings)
    if settings.uses_typical_p:
        scores = apply_typical_p(scores, settings)
    if settings.uses_xtc:
        scores = apply_xtc(scores, settings)
    scores = scores * settings.inverse_temperature
    scores = scores + _noise(settings.keys, scores) * settings.noise_scale
    return mx.argmax(scores, axis=-1)


def _constrain(rows: list[Row], constrained: list[int], logits: mx.array) -> mx.array:
    """Set the logits of all tokens that a row's constraint forbids to minus infinity."""
    if not constrained:
        return logits
    masks = np.full((len(constrained), words(logits.shape[-1])), ALL_ALLOWED, np.uint32)
    filled = []
    for i, mask in zip(constrained, masks, strict=True):
        constraint = rows[i].constraint
        filled.append(constraint is not None and constraint.fill(mask))
    if not any(filled):
        return logits
    if len(constrained) == len(rows):
        return apply(logits, masks)
    # Rows without a constraint need no mask: it is large for large vocabularies.
    where = mx.array(constrained)
    masked = mx.array(logits)  # the original is needed for the log probabilities
    masked[where] = apply(logits[where], masks)
    return masked


def _report(logits: mx.array, token: mx.array, count: int, *, forced: bool) -> TokenReport:
    logprobs = logits.astype(mx.float32)
    logprobs = logprobs - mx.logsumexp(logprobs)
    # A model may rule a token out with minus infinity, which adds nothing.
    entropy = -mx.where(logprobs == -mx.inf, 0, mx.exp(logprobs) * logprobs).sum()
    if count == 0:
        none = mx.zeros((0,), mx.uint32)
        return TokenReport(logprobs[token], none, mx.zeros((0,), mx.float32), entropy, forced)
    best = mx.argpartition(-logprobs, kth=min(count, logits.shape[-1]) - 1)[:count]
    best = best[mx.argsort(-logprobs[best])]
    return TokenReport(logprobs[token], best, logprobs[best], entropy, forced)
