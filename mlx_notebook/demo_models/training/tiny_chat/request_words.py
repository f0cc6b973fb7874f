"""Find, in tokens, the words of tools, and the words of the requests for them."""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST = 3
"""Shorter words tell too little."""


def words(pieces: Sequence[str], start: int, stop: int) -> list[tuple[int, str]]:
    """Return the column of the last piece of each word in a span, and the word.

    `pieces` are the token texts. A capital letter begins a new word, as in camelCase. A word is
    in lower case, without the "s" of a plural.
    """
    found: list[tuple[int, str]] = []
    word = ""
    for i in range(start, stop + 1):
        piece = pieces[i] if i < stop else ""
        part = piece if piece.isascii() and piece.isalpha() else ""
        if word and (not part or (part[0].isupper() and not word[-1].isupper())):
            if len(word) >= SHORTEST:
                found.append((i - 1, _plain(word)))
            word = ""
        word += part
    return found


def _plain(word: str) -> str:
    word = word.lower()
    return word.removesuffix("s") if len(word) > SHORTEST else word


def tool_words(
    pieces: Sequence[str], start: int, tools: Sequence[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """Return the column, the tool and the text of each word of a name or a description.

    `tools` holds the columns of each tool's end of name and end; the line of the first tool
    begins in column `start`.
    """
    found = []
    for tool, (named, end) in enumerate(tools):
        stop = named
        if "description" in pieces[named]:
            stop = next(i for i in range(named + 1, end) if pieces[i].startswith('",'))
        found += [(column, tool, word) for column, word in words(pieces, start, stop)]
        start = end + 1
    return found
