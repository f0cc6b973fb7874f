"""Tokenizes texts, and of a long one that begins as an earlier one did only what is new.

A tokenizer splits a text at its special tokens first, and tokenizes what lies between two of them
separately. So two texts that are the same up to a special token have the same tokens before it. In
a conversation, such a token begins or ends each message.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_SHORTEST = 2**12
"""Characters of a text that is worth keeping: a shorter one takes a few milliseconds."""

_MOST_KEPT = 2**21
"""Characters of all texts that are kept. With its tokens, each takes three to eight bytes."""

_PIECE = 2**12

_Numbers = npt.NDArray[np.uint32]


class TokenizedText(NamedTuple):
    """The tokens of a text without special ones around it.

    Attributes
    ----------
    tokens
        Their ids.
    ends
        The character after each token. Tokenizers in Python do not tell it: None.
    """

    tokens: list[int]
    ends: Sequence[int] | None


class _Kept(NamedTuple):
    """A text that may be continued.

    Attributes
    ----------
    salt
        Only texts with the same salt may continue it.
    borders
        The indices of the special tokens before which it can be cut.
    starts
        The character at which each of these tokens begins.
    """

    salt: str
    text: str
    tokens: _Numbers
    ends: _Numbers
    borders: _Numbers
    starts: _Numbers

    def usable(self, text: str, lookahead: int) -> tuple[int, int]:
        """Return how many first tokens another text shares, and the character that follows them."""
        common = common_length(self.text, text)
        at = int(np.searchsorted(self.starts, max(common - lookahead, 0), side="right")) - 1
        return (int(self.borders[at]), int(self.starts[at])) if at >= 0 else (0, 0)


class IncrementalTokenizer:
    """Tokenizes texts with a model's tokenizer. Thread-safe.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []  # replaced, never changed; the newest one is the last
        added = getattr(tokenizer._tokenizer, "added_tokens_decoder", {})
        # Other special tokens take the white space before them, or depend on what is there.
        self._borders = {
            id: token.content
            for id, token in added.items()
            if not (token.lstrip or token.single_word or token.normalized)
        }
        # So many characters decide which special token begins at a place.
        self._lookahead = max((len(token.content) for token in added.values()), default=0)

    def tokenize(self, text: str, salt: str | None = None) -> TokenizedText:
        """Tokenize a text.

        Parameters
        ----------
        text
            A whole text.
        salt
            Texts with the same salt may continue each other. How long this takes tells whether one
            did. None: this text continues none, and is not kept.
        """
        if salt is None or len(text) < _SHORTEST or not self._borders:
            return tokenize(self._tokenizer, text)
        shared, begin, continued = 0, 0, None
        for kept in self._kept:
            if kept.salt == salt:
                count, start = kept.usable(text, self._lookahead)
                if start > begin:
                    shared, begin, continued = count, start, kept
        encoding = _encoding(self._tokenizer._tokenizer, text[begin:])
        if encoding is None:
            return tokenize(self._tokenizer, text)
        tokens, offsets = np.array(encoding.ids, np.uint32), encoding.offsets
        ends = np.fromiter((begin + end for _, end in offsets), np.uint32, len(offsets))
        found = []
        for index in np.flatnonzero(np.isin(tokens, [*self._borders])).tolist():
            start = begin + offsets[index][0]
            # The token for unknown characters also stands for other texts than its own.
            if text.startswith(self._borders[int(tokens[index])], start):
                found.append((shared + index, start))
        borders, starts = np.array(found, np.uint32).reshape(-1, 2).T
        if continued is not None:
            before = int(np.searchsorted(continued.borders, shared))
            tokens = np.concatenate((continued.tokens[:shared], tokens))
            ends = np.concatenate((continued.ends[:shared], ends))
            borders = np.concatenate((continued.borders[:before], borders))
            starts = np.concatenate((continued.starts[:before], starts))
        self._keep(_Kept(salt, text, tokens, ends, borders, starts), continued, begin)
        return TokenizedText(tokens.tolist(), ends.tolist())

    def _keep(self, new: _Kept, continued: _Kept | None, begin: int) -> None:
        """Keep a text, in place of the one that it continues unless much of that is different."""
        with self._lock:
            kept = [one for one in self._kept if one is not continued]
            if continued is not None and len(continued.text) - begin >= _SHORTEST:
                kept.append(continued)
            kept.append(new)
            size = sum(len(one.text) for one in kept)
            while size > _MOST_KEPT:
                size -= len(kept.pop(0).text)
            self._kept = kept


def tokenize(tokenizer: Any, text: str) -> TokenizedText:
    """Return the tokens of a text without special ones around it, and their ends in the text."""
    encoding = _encoding(tokenizer._tokenizer, text)
    if encoding is None:
        return TokenizedText(tokenizer.encode(text, add_special_tokens=False), None)
    return TokenizedText(encoding.ids, [end for _, end in encoding.offsets])


def common_length(one: str, other: str) -> int:
    """Return how many first characters are equal."""
    most = min(len(one), len(other))
    begin = 0
    while begin < most and one[begin : begin + _PIECE] == other[begin : begin + _PIECE]:
        begin += _PIECE
    end = min(begin + _PIECE, most)
    begin = min(begin, most)
    while begin < end:
        middle = (begin + end + 1) // 2
        if one[begin:middle] == other[begin:middle]:
            begin = middle
        else:
            end = middle - 1
    return begin


def _encoding(own: Any, text: str) -> Any:
    """Return what the library `tokenizers` makes of a text; None for a tokenizer in Python."""
    if not getattr(own, "is_fast", False):
        return None
    (encoding,) = own(text, add_special_tokens=False).encodings
    return encoding
