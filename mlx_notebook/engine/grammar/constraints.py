"""Constraints on the next token of a row: the sampler's interface, and simple constraints."""

import copy
from collections.abc import Iterable, Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import EngineError


class Constraint(Protocol):
    """A limit on the next token, such as a grammar or a reasoning budget. One object per row."""

    @property
    def failure(self) -> EngineError | None:
        """The error with which the row must end, because it cannot be constrained any more."""
        ...

    def advance(self, token: int) -> None:
        """Process a token that was sampled."""
        ...

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Write the allowed tokens into `mask`, one bit each. Return False if all are allowed."""
        ...

    def forced(self) -> list[int]:
        """Return the tokens that must follow, in order; empty if there is a choice.

        They are not consumed: `advance` is called for each of them later. They are the tokens that
        the masks would allow one by one, so a row may take them at once or one by one.
        """
        ...

    def copy(self) -> Self:
        """Return an independent copy, for looking ahead."""
        ...


class MinTokens:
    """Forbids the end tokens until a minimum number of tokens is generated.

    If the inner constraint allows nothing else, they stay allowed.
    """

    def __init__(self, minimum: int, end: Sequence[int], inner: Constraint | None):
        self._left, self._end, self._inner = minimum, tuple(end), inner

    @property
    def failure(self) -> EngineError | None:
        """The error of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Count a token."""
        self._left -= 1
        if self._inner is not None:
            self._inner.advance(token)

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Remove the end tokens from what the inner constraint allows."""
        filled = self._inner is not None and self._inner.fill(mask)
        if self._left <= 0:
            return filled
        _forbid(self._end, mask)
        return True

    def forced(self) -> list[int]:
        """Return what the inner constraint forces, up to an end token that is forbidden."""
        run = self._inner.forced() if self._inner is not None else []
        for index, token in enumerate(run[: max(0, self._left)]):
            if token in self._end:
                return run[:index]
        return run

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = copy.copy(self)
        twin._inner = self._inner.copy() if self._inner is not None else None
        return twin


class BadWords:
    """Forbids tokens that would complete a forbidden sequence.

    If the inner constraint allows nothing else, they stay allowed.

    Parameters
    ----------
    sequences
        Sequences of token ids, each at least one token long.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], inner: Constraint | None):
        self._inner = inner
        self._words = [(list(tokens[:-1]), tokens[-1]) for tokens in sequences]
        self._longest = max(len(head) for head, _ in self._words)
        self._recent: list[int] = []

    @property
    def failure(self) -> EngineError | None:
        """The error of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Process a token that was sampled."""
        if self._longest:
            self._recent = [*self._recent, token][-self._longest :]
        if self._inner is not None:
            self._inner.advance(token)

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Remove tokens that would complete a sequence from what the inner constraint allows."""
        filled = self._inner is not None and self._inner.fill(mask)
        forbidden = self._forbidden(self._recent)
        if not forbidden:
            return filled
        _forbid(forbidden, mask)
        return True

    def forced(self) -> list[int]:
        """Return what the inner constraint forces, up to the end of a forbidden sequence."""
        run = self._inner.forced() if self._inner is not None else []
        text = self._recent + run
        for index, token in enumerate(run):
            if token in self._forbidden(text[: len(self._recent) + index]):
                return run[:index]
        return run

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = copy.copy(self)
        twin._inner = self._inner.copy() if self._inner is not None else None
        return twin

    def _forbidden(self, text: list[int]) -> set[int]:
        """Return the tokens that may not follow `text`."""
        return {last for head, last in self._words if not head or text[-len(head) :] == head}


def _forbid(tokens: Iterable[int], mask: npt.NDArray[np.uint32]) -> None:
    """Remove tokens from a mask, unless none would be left."""
    before = mask.copy()
    for token in tokens:
        mask[token // 32] &= ~np.uint32(1 << (token % 32))
    if not mask.any():
        mask[:] = before
