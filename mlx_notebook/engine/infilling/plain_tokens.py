"""Tokenize texts of a request so that no control token comes of a mark in them."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

_MARK = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)
_ANCHOR = "☺"


class PlainTokens:
    """The tokenizer of a model, without its control tokens.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    marks
        Marks that the model's prompts use, which count as control tokens.
    """

    def __init__(self, tokenizer: Any, marks: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        known = frozenset(marks)
        vocabulary = tokenizer.get_vocab()
        added = tokenizer._tokenizer.added_tokens_decoder.items()
        control = {
            token.content: id
            for id, token in added
            if token.special or _MARK.fullmatch(token.content) or token.content in known
        }
        control |= {mark: vocabulary[mark] for mark in known if mark in vocabulary}
        self._control = frozenset(control.values())
        longest_first = sorted(filter(None, control), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        # SentencePiece's tokenizers put a space before a text.
        self._anchor = self._encode(_ANCHOR)
        self._adds_space = self._encode(f"{_ANCHOR}a") != [*self._anchor, *self._encode("a")]

    @property
    def start(self) -> list[int]:
        """The special tokens that the tokenizer puts before a text."""
        around = self._tokenizer.encode("")
        first = self._tokenizer.bos_token_id
        return around[:1] if around and first is not None and around[0] == first else []

    def encode(self, text: str, *, inside: bool = False) -> list[int]:
        """Return the tokens of a text. `inside`: other text comes before it.

        A mark in the text is tokenized in two pieces, so that it is not found.
        """
        if not text:
            return []
        tokens = self._piece(text, inside)
        if self._control.isdisjoint(tokens):
            return tokens
        cuts = [found.start() + 1 for found in self._pattern.finditer(text)]
        tokens = self._pieces(text, cuts, inside)
        if self._control.isdisjoint(tokens):
            return tokens
        # The tokenizer changes the text before it looks for marks.
        return self._pieces(text, range(1, len(text)), inside)

    def template(self, text: str, *, inside: bool = False) -> list[int]:
        """Return the tokens of a text whose marks are control tokens."""
        return self._piece(text, inside) if text else []

    def _pieces(self, text: str, cuts: Iterable[int], inside: bool) -> list[int]:
        places = [0, *cuts, len(text)]
        return [
            token
            for start, end in pairwise(places)
            for token in self._piece(text[start:end], inside or start > 0)
        ]

    def _piece(self, text: str, inside: bool) -> list[int]:
        if not inside or not self._adds_space:
            return self._encode(text)
        return self._encode(_ANCHOR + text)[len(self._anchor) :]

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens
