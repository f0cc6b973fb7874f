"""Where a prompt leaves a cached sequence that begins like it."""

from dataclasses import dataclass

SHOWN_TOKENS = 12
"""Tokens that are shown of either, from the first one that differs."""


@dataclass(frozen=True)
class BrokenPrefix:
    """The first difference between a prompt and the cached sequence that agrees with it furthest.

    Attributes
    ----------
    at
        Index of the first token that differs.
    was
        Tokens of the cached sequence from there on.
    """

    at: int
    was: list[int]
