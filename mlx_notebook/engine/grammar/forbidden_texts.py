"""A constraint against texts, used for the markers of tool calls with `tool_choice: none`.

A token is forbidden if it would complete one of the texts, as one special token or as the last of
several pieces. So the prompt can keep its tools, and with them its entry in the prefix cache.
"""

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.grammar.mask import ALL_ALLOWED, words

Mask = npt.NDArray[np.uint32]


class ForbiddenTexts:
    """The constraint, shared by rows. `row` makes the state of one row.

    Creating it looks at every token of the vocabulary, which takes a fraction of a second.
    """

    def __init__(self, tokens: GrammarTokenizer, texts: Sequence[bytes]) -> None:
        self._tokens = tokens
        self.longest = max(map(len, texts))
        # Beginning of a text -> the tokens that may not follow it.
        banned: dict[bytes, list[int]] = {
            text[:at]: [] for text in texts for at in range(len(text))
        }
        for token in range(tokens.width):
            data = tokens.bytes_of(token)
            for text in texts:
                if text in data:
                    banned[b""].append(token)
                for at in range(1, len(text)):
                    if data.startswith(text[at:]):
                        banned[text[:at]].append(token)
        self._allowed = {begun: self._without(ids) for begun, ids in banned.items() if ids}

    def row(self) -> "ForbiddenTextsRow":
        """Return the constraint of one row."""
        return ForbiddenTextsRow(self, self._tokens)

    def remove(self, tail: bytes, mask: Mask) -> None:
        """Remove the tokens that may not follow `tail` from `mask`."""
        for begun, allowed in self._allowed.items():
            if tail.endswith(begun):
                mask &= allowed

    def _without(self, ids: list[int]) -> Mask:
        mask = np.full(words(self._tokens.width), ALL_ALLOWED, np.uint32)
        for token in ids:
            mask[token // 32] &= ~np.uint32(1 << (token % 32))
        return mask


class ForbiddenTextsRow:
    """The state of one row: its last bytes."""

    def __init__(self, forbidden: ForbiddenTexts, tokens: GrammarTokenizer) -> None:
        self.failure = None
        self._forbidden = forbidden
        self._tokens = tokens
        self._tail = b""

    def advance(self, token: int) -> None:
        """Process a token that was sampled."""
        self._tail = (self._tail + self._tokens.bytes_of(token))[-self._forbidden.longest :]

    def fill(self, mask: Mask) -> bool:
        """Write the allowed tokens into `mask`, one bit each."""
        mask[:] = ALL_ALLOWED
        self._forbidden.remove(self._tail, mask)
        return True

    def forced(self) -> list[int]:
        """Return nothing: there is always a choice."""
        return []

    def copy(self) -> Self:
        """Return an independent copy."""
        return copy.copy(self)
