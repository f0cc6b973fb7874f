"""Checks drafted tokens: which of them a row would have chosen without the draft.

A row's random stream depends on its seed and position only, and a grammar on the tokens alone. So
this works for sampled and constrained rows as for greedy ones, and the text is the same with and
without drafts.
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.batching.batch_row import BatchRow
from mlx_notebook.engine.grammar.mask import ALL_ALLOWED, apply, words
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import choose_at


class DraftedRow:
    """A row with its draft, while the model checks it.

    Parameters
    ----------
    row
        Its `known` tokens are the certain ones, which are fed before the draft.
    draft
        The tokens that may follow them.

    Attributes
    ----------
    certain
        How many tokens are fed before the draft.
    tokens
        What is fed: the certain tokens, then the draft.
    fails
        Whether the constraint fails after the draft, which then ends before that place.
    """

    def __init__(self, row: BatchRow, draft: Sequence[int]):
        self.row, self.draft = row, list(draft)
        self.certain = len(row.known)
        self.tokens = [*row.known, *draft]
        # By position after the certain tokens: what is forced there, and what is allowed.
        self.forced: dict[int, int] = {}
        self.masks: dict[int, npt.NDArray[np.uint32]] = {}
        self.checked = len(self.draft) + 1
        self.fails = False
        self._mask_words = 0

    def look_ahead(self, width: int) -> None:
        """Let a copy of the constraint follow the draft; `width` is the size of the vocabulary.

        Positions after a token that the constraint forbids need no check.
        """
        constraint = self.row.settings.constraint
        if constraint is None:
            return
        ahead = constraint.copy()
        for token in self.row.known[self.row.ahead :]:
            ahead.advance(token)
        self._mask_words = words(width)
        drafted: list[int | None] = [*self.draft, None]
        for position, following in enumerate(drafted):
            forced = ahead.forced()
            if forced:
                self.forced[position] = forced[0]
            else:
                mask = np.full(self._mask_words, ALL_ALLOWED, np.uint32)
                if ahead.fill(mask):
                    self.masks[position] = mask
            if ahead.failure is not None:
                self.fails = True
                self.draft = self.draft[:position]
                self.checked = position + 1
                return
            if following is None:
                return
            if not self._allows(position, following):
                self.checked = position + 1
                return
            ahead.advance(following)

    def _allows(self, position: int, token: int) -> bool:
        mask = self.masks.get(position)
        if mask is not None and not mask[token // 32] >> (token % 32) & 1:
            return False
        return self.forced.get(position, token) == token

    def accept(self, chosen: Sequence[int]) -> list[int]:
        """Return the tokens that are fed for good; let the row go on after them.

        Parameters
        ----------
        chosen
            The token chosen at each checked position.
        """
        count = 0
        choice = [self.forced.get(position, token) for position, token in enumerate(chosen)]
        while count < len(self.draft) and self.draft[count] == choice[count]:
            count += 1
        row = self.row
        fed = self.tokens[: self.certain + count]
        end = next((i for i, token in enumerate(fed) if i >= row.ahead and token in row.ends), None)
        fed = fed if end is None else fed[: end + 1]
        row.known = [choice[count]]
        row.follow(fed[row.ahead :])
        constraint = row.settings.constraint
        if self.fails and constraint is not None and count == len(self.draft):
            # What it allows here is not known: the row ends before the token chosen.
            constraint.fill(np.zeros(self._mask_words, np.uint32))
        row.settings.position += len(fed)
        return fed


def choose(rows: Sequence[DraftedRow], logits: mx.array) -> list[list[int]]:
    """Return the tokens that each row would choose at its checked positions; waits for them.

    Parameters
    ----------
    logits
        Shape (rows, L, vocabulary), for the tokens fed.
    """
    at_row = [i for i, drafted in enumerate(rows) for _ in range(drafted.checked)]
    at_token = [row.certain - 1 + position for row in rows for position in range(row.checked)]
    scores = logits[mx.array(at_row), mx.array(at_token)]
    masks = [row.masks.get(position) for row in rows for position in range(row.checked)]
    masked = {i: mask for i, mask in enumerate(masks) if mask is not None}
    if masked:
        where = mx.array(list(masked))
        scores[where] = apply(scores[where], np.stack(list(masked.values())))
    settings: list[Row] = []
    offsets: list[int] = []
    for row in rows:
        settings.extend([row.row.settings] * row.checked)
        offsets.extend(row.certain - 1 + position for position in range(row.checked))
    chosen = choose_at(settings, offsets, scores).tolist()
    found = []
    for row in rows:
        found.append(chosen[: row.checked])
        chosen = chosen[row.checked :]
    return found
