"""What may come next in a row: the interface that the sampler knows, and its smallest instance."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import EngineError


class Constraint(Protocol):
    """A row's grammar, reasoning budget or minimum length; one object a row."""

    @property
    def failure(self) -> EngineError | None:
        """Why the row cannot be constrained any more, if so: it must end with this error."""
        ...

    def advance(self, token: int) -> None:
        """Take note of a token that was chosen."""
        ...

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Write the allowed tokens into `mask`, a bit each; False: all are."""
        ...


class MinTokens:
    """Forbids the end tokens until a number of tokens has been chosen.

    A grammar that allows nothing but the end wins over this.
    """

    def __init__(self, minimum: int, end: Sequence[int], inner: Constraint | None):
        self._left, self._end, self._inner = minimum, tuple(end), inner

    @property
    def failure(self) -> EngineError | None:
        """That of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Count a token."""
        self._left -= 1
        if self._inner is not None:
            self._inner.advance(token)

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Take the end tokens out of what the inner constraint allows."""
        filled = self._inner is not None and self._inner.fill(mask)
        if self._left <= 0:
            return filled
        _forbid(self._end, mask)
        return True


class BadWords:
    """Forbids each token that would complete one of some sequences of tokens.

    A constraint inside that allows nothing else wins over this.

    Parameters
    ----------
    sequences
        Token ids, at least one each.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], inner: Constraint | None):
        self._inner = inner
        self._words = [(list(tokens[:-1]), tokens[-1]) for tokens in sequences]
        self._longest = max(len(head) for head, _ in self._words)
        self._said: list[int] = []

    @property
    def failure(self) -> EngineError | None:
        """That of the inner constraint."""
        return self._inner.failure if self._inner is not None else None

    def advance(self, token: int) -> None:
        """Take note of a token."""
        if self._longest:
            self._said = [*self._said, token][-self._longest :]
        if self._inner is not None:
            self._inner.advance(token)

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Take the last tokens of words that have begun out of what the inner one allows."""
        filled = self._inner is not None and self._inner.fill(mask)
        forbidden = {
            last for head, last in self._words if not head or self._said[-len(head) :] == head
        }
        if not forbidden:
            return filled
        _forbid(forbidden, mask)
        return True


def _forbid(tokens: Iterable[int], mask: npt.NDArray[np.uint32]) -> None:
    """Take tokens out of a mask that allows others too; else leave it as it is."""
    before = mask.copy()
    for token in tokens:
        mask[token // 32] &= ~np.uint32(1 << (token % 32))
    if not mask.any():
        mask[:] = before
