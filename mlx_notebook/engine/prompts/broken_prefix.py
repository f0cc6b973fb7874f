"""Where a prompt leaves a cached sequence that begins like it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from mlx_notebook.engine.prompts.message_places import MessagePlaces
from mlx_notebook.protocol import PrefixTrace

SHOWN_TOKENS = 12
"""Tokens that are shown of either, from the first one that differs."""

_SHOWN_CHARACTERS = 80

_LEAST_SHARED = 16
"""Tokens that any two prompts of a model may have in common."""


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


def describe(
    broken: BrokenPrefix, places: MessagePlaces, keys: Sequence[int], cached: int, tokenizer: Any
) -> PrefixTrace | None:
    """Return what a trace says about a broken prefix.

    Parameters
    ----------
    places, keys
        The prompt's messages, and its tokens in the prefix cache.
    cached
        How many of them were used from the cache.

    Returns
    -------
    None if nothing changed that had been there: the prompt is another conversation, or differs in
    its last message only.
    """
    if broken.at < _LEAST_SHARED or places.is_new(broken.at):
        return None
    message = places.changed(broken.at)
    return PrefixTrace(
        cached,
        broken.at,
        None if message is None else message + 1,
        _shown(broken.was, tokenizer),
        _shown(keys[broken.at : broken.at + SHOWN_TOKENS], tokenizer),
    )


def _shown(keys: Sequence[int], tokenizer: Any) -> str:
    """Return the text of tokens up to the first image, whose keys are no tokens."""
    size = len(tokenizer)
    known = list(takewhile(lambda key: key < size, keys))
    text = str(tokenizer.decode(known)) + ("[image]" if len(known) < len(keys) else "")
    return text[:_SHOWN_CHARACTERS]
