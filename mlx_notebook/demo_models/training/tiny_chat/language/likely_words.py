"""Invent words that look like English ones, from the letters of the training words."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from random import Random

from . import words

BEFORE = 2
"""How many letters a letter follows from."""


@cache
def _following() -> dict[str, list[str]]:
    """Return, for each pair of letters, the letters after it in the training words."""
    following: dict[str, list[str]] = defaultdict(list)
    for name, value in sorted(vars(words).items()):
        if not name.isupper() or not isinstance(value, tuple):
            continue
        for word in value:
            if word.isascii() and word.isalpha():
                padded = "^" * BEFORE + word.lower() + "$"
                for i in range(BEFORE, len(padded)):
                    following[padded[i - BEFORE : i]].append(padded[i])
    return dict(following)


def likely_word(rng: Random) -> str:
    """Return a word of four to eleven lower-case letters."""
    while True:
        word = "^" * BEFORE
        while len(word) < BEFORE + 12:
            letter = rng.choice(_following()[word[-BEFORE:]])
            if letter == "$":
                break
            word += letter
        word = word[BEFORE:]
        if 4 <= len(word) <= 11:
            return word
