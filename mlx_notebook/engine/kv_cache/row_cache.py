"""The KV cache of one row, and its twin on the other ranks of a distributed engine."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import mlx.core as mx


class Twin(Protocol):
    """The same object on the other ranks, where each has its part of the model.

    Whoever changes an object that has a twin calls the same function of the twin first. So the
    ranks make the same calls in the same order.
    """

    def call(
        self, function: str, objects: Sequence["Twin"] = (), numbers: Iterable[int] = ()
    ) -> "Twin":
        """Let the other ranks call a function, and return the twin of what it returns.

        Parameters
        ----------
        function
            A key of `FUNCTIONS` in `engine/distributed/repeated_calls.py`.
        objects, numbers
            Its arguments after this object.
        """
        ...

    def broadcast(self, tokens: mx.array) -> mx.array:
        """Return the tokens of rank 0; the other ranks receive them."""
        ...


class RowCache(list[Any]):
    """The caches of one row, one for each layer.

    Attributes
    ----------
    twin
        The same row on the other ranks; None if there is one rank.
    """

    def __init__(self, layers: Iterable[Any], twin: Twin | None = None):
        super().__init__(layers)
        self.twin = twin


def twin_of(layers: list[Any]) -> Twin | None:
    """Return the twin of a row's caches; None if there is one rank."""
    return layers.twin if isinstance(layers, RowCache) else None
