"""Prompt lookup: drafts what followed the last tokens earlier in the row's own text.

Quotations, edited code and lists repeat parts of the prompt. This needs no draft model.
"""

from collections.abc import Callable

_NGRAM_SIZES = (3, 2)


class RowLookup:
    """The text of one row, and what followed its parts.

    Parameters
    ----------
    prompt
        The tokens of its prompt.
    limit
        Most tokens to draft.
    """

    def __init__(self, prompt: list[int], limit: int):
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._limit = limit
        self.extend(prompt)

    def extend(self, tokens: list[int]) -> None:
        """Add the row's new tokens."""
        for token in tokens:
            self._tokens.append(token)
            end = len(self._tokens)
            for size in _NGRAM_SIZES:
                if end > size:
                    self._after[tuple(self._tokens[end - size - 1 : end - 1])] = end - 1

    def draft(self, count: int, newest: int | None = None) -> list[int]:
        """Return up to `count` tokens that may follow; `newest` is a token not added yet."""
        text = self._tokens if newest is None else [*self._tokens, newest]
        count = min(count, self._limit)
        for size in _NGRAM_SIZES:
            begin = self._after.get(tuple(text[-size:])) if len(text) >= size else None
            if begin is not None:
                found = text[begin : begin + count]
                # At the end of the text it starts over: repetition has a period.
                return (found * count)[:count]
        return []

    def expected(self, count: int) -> float:
        """Return how many of `count` drafted tokens may be accepted."""
        return float(len(self.draft(count)))

    def verified(self, drafted: int, accepted: int) -> None:
        """Take the outcome of a draft."""


class Pace:
    """How many tokens to draft."""

    def plain(self, rows: int, seconds: float) -> None:
        """Take the duration of a step without drafts."""

    def verified(self, rows: int, width: int, seconds: float) -> None:
        """Take the duration of a step with drafts."""

    def width(self, expected: Callable[[int], list[float]], rows: int) -> int:
        """Return how many tokens to draft for each row; 0 for none."""
        return 7 if sum(expected(7)) else 0
