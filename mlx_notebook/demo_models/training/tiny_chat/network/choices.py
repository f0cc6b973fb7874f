"""Find, in the tokens of a document, the tools and the tokens from which a choice is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

COUNTS = 4
"""How many numbers of calls a reading tells apart: none, one, two, more."""

PLACES = 16
"""How many tools a reading tells apart by their place in the list."""

Columns = np.ndarray[Any, np.dtype[np.int64]]


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
class Found:
    """What the readings of one document need."""

    tools: list[tuple[int, int]] = field(default_factory=list)
    """Columns of each tool's end of name and end."""
    start: int = 0
    """Column in which the line of the first tool begins."""
    choices: list[Choice] = field(default_factory=list)
    names: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each learned call: columns of the token before its name and after it, and the tool."""
    words: list[tuple[int, int, str]] = field(default_factory=list)
    """Column, tool and text of each word of the tools."""
    heard: list[tuple[int, str]] = field(default_factory=list)
    """Column and text of each word of the user's messages."""


@dataclass
class Marks:
    """What the readings of a batch need, as arrays of rows, columns and indexes of tools."""

    tools: Columns
    """Columns of each tool's end of name and end, (rows, tools, 2); -1 where there is none."""
    rows: Columns
    asked: Columns
    begun: Columns
    counts: Columns
    called: Columns
    """Tools of the first and the second call, (n, 2); -1 where there is none."""
    names: Columns
    """Of each learned call: row, column before its name, tool, and column after it, (n, 4)."""
    words: Columns
    """Column and tool of each word of the tools, (rows, words, 2); -1 where there is none."""
    heard: Columns
    """Row and column of each word of the user, (n, 2)."""
    same: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether a word of the user is a word of the tools of its row, (n, words)."""
    lines: Columns
    """The tool whose line a token is in, (rows, length); -1 for none."""
    spelled: Columns
    """The tool whose name the next token goes on with in a call, (rows, length); -1 for none."""
    since: Columns
    """Of each choice: the column after which its request begins at the earliest."""
    copies: Columns
    """Of each piece of a called name: row, column before it, column in the list, (n, 3)."""


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


def called_names(pieces: Sequence[str], start: int, stop: int) -> list[tuple[int, int]]:
    """Return the columns of the tokens before and after each name of a call in a span."""
    found = []
    for i in range(start, stop - 2):
        if pieces[i] == "<tool_call>":
            after = next(j for j in range(i + 3, stop) if pieces[j].startswith('",'))
            found.append((i + 2, after))
    return found


def echoes(tokens: Sequence[int], tools: Sequence[tuple[int, int]]) -> list[bool]:
    """Return which tokens after the tools follow their last token as they do among the tools."""
    if not tools:
        return [False] * len(tokens)
    last = tools[-1][1]
    pairs = set(pairwise(tokens[:last]))
    return [i > last and pair in pairs for i, pair in enumerate(pairwise((-1, *tokens)))]


def marks(documents: Sequence[Found], length: int) -> Marks:
    """Return the arrays of a batch of `length` columns from what was found in its documents."""
    choices = [(row, choice) for row, found in enumerate(documents) for choice in found.choices]
    called = np.full((len(choices), 2), -1, np.int64)
    for i, (_, choice) in enumerate(choices):
        called[i, : len(choice.called[:2])] = choice.called[:2]
    heard = [(row, *word) for row, found in enumerate(documents) for word in found.heard]
    words = _padded([[word[:2] for word in found.words] for found in documents])
    same = np.zeros((len(heard), words.shape[1]), np.bool_)
    for i, (row, _, text) in enumerate(heard):
        every = documents[row].words
        same[i, : len(every)] = [other == text for _, _, other in every]
    named = [
        (row, before, tool, after)
        for row, found in enumerate(documents)
        for before, after, tool in found.names
    ]
    return Marks(
        _padded([found.tools for found in documents]),
        np.array([row for row, _ in choices], np.int64),
        np.array([choice.asked for _, choice in choices], np.int64),
        np.array([choice.begun for _, choice in choices], np.int64),
        np.array([min(COUNTS - 1, len(choice.called)) for _, choice in choices], np.int64),
        called,
        np.array(named, np.int64).reshape(-1, 4),
        words,
        np.array([word[:2] for word in heard], np.int64).reshape(-1, 2),
        same,
        *_spans(documents, length),
        np.array([since for found in documents for since in _since(found)], np.int64),
        np.array(_copies(documents), np.int64).reshape(-1, 3),
    )


def _since(found: Found) -> list[int]:
    if not found.choices:
        return []
    return [found.tools[-1][1], *(choice.asked for choice in found.choices[:-1])]


def _copies(documents: Sequence[Found]) -> list[tuple[int, int, int]]:
    found = []
    for row, document in enumerate(documents):
        starts = [document.start, *(end + 1 for _, end in document.tools)]
        for before, after, tool in document.names:
            first, stop = starts[tool] + 1, document.tools[tool][0]
            if after - before - 1 == stop - first:
                found += [(row, before + i, first + i) for i in range(stop - first)]
    return found


def _spans(documents: Sequence[Found], length: int) -> tuple[Columns, Columns]:
    lines, spelled = (np.full((len(documents), length), -1, np.int64) for _ in range(2))
    for row, found in enumerate(documents):
        start = found.start
        for tool, (_, end) in enumerate(found.tools[:PLACES]):
            lines[row, start : end + 1] = tool
            start = end + 1
        for before, after, tool in found.names:
            if tool < PLACES:
                spelled[row, before:after] = tool
    return lines, spelled


def _padded(rows: Sequence[Sequence[tuple[int, int]]]) -> Columns:
    """Return pairs as an array (rows, most pairs of a row, 2), with -1 where there is none."""
    most = max(1, *(len(row) for row in rows)) if len(rows) else 1
    at = np.full((len(rows), most, 2), -1, np.int64)
    for i, row in enumerate(rows):
        if row:
            at[i, : len(row)] = row
    return at
