"""Find, in the tokens of a document, the tools and the tokens from which a choice is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

COUNTS = 4
"""How many numbers of calls a reading tells apart: none, one, two, more."""


@dataclass(frozen=True)
class Choice:
    """One assistant message to learn, in a document with tools."""

    asked: int
    """Column of the token that ends the message before it."""
    begun: int
    """Column of the last token of the prompt: the answer follows it."""
    called: tuple[int, ...]
    """Index of the tool of each call."""


@dataclass
class Marks:
    """The choices of a batch, as arrays of columns and of the indexes of tools."""

    tools: np.ndarray[Any, np.dtype[np.int64]]
    """Columns of each tool's end of name and end, (rows, tools, 2); -1 where there is none."""
    rows: np.ndarray[Any, np.dtype[np.int64]]
    asked: np.ndarray[Any, np.dtype[np.int64]]
    begun: np.ndarray[Any, np.dtype[np.int64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]
    called: np.ndarray[Any, np.dtype[np.int64]]
    """Tools of the first and the second call, (n, 2); -1 where there is none."""


def tool_columns(pieces: Sequence[str], first: str, last: str) -> list[tuple[int, int]]:
    """Return the columns of each tool's end of name and end; `pieces` are the token texts.

    The tools stand on one line each between the tokens `first` and `last`.
    """
    if first not in pieces:
        return []
    columns = []
    name = -1
    start = pieces.index(first)
    for i in range(start + 2, pieces.index(last, start)):
        if name < 0 and pieces[i].startswith('",'):
            name = i
        elif pieces[i] == "Ċ":  # The newline in a byte-level vocabulary.
            columns.append((name, i))
            name = -1
    return columns


def echoes(tokens: Sequence[int], tools: Sequence[tuple[int, int]]) -> list[bool]:
    """Return which tokens after the tools follow their last token as they do among the tools."""
    if not tools:
        return [False] * len(tokens)
    last = tools[-1][1]
    pairs = set(pairwise(tokens[:last]))
    return [i > last and pair in pairs for i, pair in enumerate(pairwise((-1, *tokens)))]


def marks(tools: Sequence[Sequence[tuple[int, int]]], choices: Sequence[Sequence[Choice]]) -> Marks:
    """Return the arrays of a batch from the tool columns and the choices of its documents."""
    most = max(1, *(len(columns) for columns in tools)) if len(tools) else 1
    at = np.full((len(tools), most, 2), -1, np.int64)
    for row, columns in enumerate(tools):
        if columns:
            at[row, : len(columns)] = columns
    found = [(row, choice) for row, every in enumerate(choices) for choice in every]
    called = np.full((len(found), 2), -1, np.int64)
    for i, (_, choice) in enumerate(found):
        called[i, : len(choice.called[:2])] = choice.called[:2]
    return Marks(
        at,
        np.array([row for row, _ in found], np.int64),
        np.array([choice.asked for _, choice in found], np.int64),
        np.array([choice.begun for _, choice in found], np.int64),
        np.array([min(COUNTS - 1, len(choice.called)) for _, choice in found], np.int64),
        called,
    )
