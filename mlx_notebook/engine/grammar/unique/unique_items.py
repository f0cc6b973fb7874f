"""A constraint beside a grammar: the items of an array differ.

A grammar cannot say that an item differs from an earlier one. So the text is followed beside it,
and tokens are forbidden that would end an item equal to an earlier one. Tokens after which every
item would repeat an earlier one are forbidden too: the grammar is asked ahead, along the text of
the earlier items, for a place where the new item may leave it.
"""

import copy
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Self

import llguidance
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.grammar.mask import words
from mlx_notebook.engine.grammar.unique.json_text import JsonText, Part
from mlx_notebook.engine.grammar.unique.places import SchemaPlaces
from mlx_notebook.engine.grammar.unique.preamble import Preamble

Mask = npt.NDArray[np.uint32]

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_MOST_STATES = 1000
"""Most states of the grammar that are asked for one token. Beyond them a way out is assumed."""
_MOST_ITEMS = 64
"""Most earlier items whose text is followed ahead at one place."""


class TokenTexts:
    """The tokens of a vocabulary by what their text holds.

    Attributes
    ----------
    texts, width
        The text of each token, and how many tokens a mask has.
    ids
        Bytes -> the tokens with this text. A vocabulary may hold a byte twice.
    """

    def __init__(self, tokens: Iterable[bytes], width: int) -> None:
        self.texts, self.width = list(tokens), width
        self.ids: dict[bytes, list[int]] = {}
        for token, text in enumerate(self.texts):
            if text:
                self.ids.setdefault(text, []).append(token)

    @cached_property
    def quotes(self) -> Mask:
        """Tokens with a quotation mark that ends a text."""
        return self._mask(lambda text: b'"' in _ESCAPE.sub(b"", text))

    @cached_property
    def quotes_after_backslash(self) -> Mask:
        """Tokens with a quotation mark behind their first byte, which a backslash takes."""
        return self._mask(lambda text: b'"' in _ESCAPE.sub(b"", text[1:]))

    @cached_property
    def ends(self) -> Mask:
        """Tokens with a byte that may end a value, or a space before it."""
        # A space before an item is not part of it, so its text does not lead to it.
        return self._mask(lambda text: text[:1].isspace() or any(byte in b'",]}' for byte in text))

    @cached_property
    def enters(self) -> Mask:
        """Tokens in which an array begins and goes on."""
        return self._mask(lambda text: b"[" in text and b"," in text)

    @cached_property
    def escapes(self) -> Mask:
        """Tokens with an escape that has another spelling."""
        return self._mask(lambda text: b"\\" in text and _is_odd(text))

    @cached_property
    def after_backslash(self) -> Mask:
        """Tokens that make such an escape of a backslash."""
        return self._mask(lambda text: text[:1] in (b"u", b"/"))

    def _mask(self, chosen: Any) -> Mask:
        bits = np.zeros(words(self.width) * 32, np.bool_)
        for token, text in enumerate(self.texts):
            bits[token] = bool(text) and chosen(text)
        return np.packbits(bits, bitorder="little").view(np.uint32)


def _is_odd(text: bytes) -> bool:
    r"""Whether a text has an escape `\u` or `\/`."""
    plain = text.replace(b"\\\\", b"")
    return b"\\u" in plain or b"\\/" in plain


class UniqueItems:
    """The constraint, shared by rows. `row` makes the state of one row.

    Parameters
    ----------
    places
        The schema with its `uniqueItems`.
    preamble
        What the answer may hold before the JSON value.
    """

    def __init__(self, places: SchemaPlaces, texts: TokenTexts, preamble: Preamble) -> None:
        self.places, self.texts, self.preamble = places, texts, preamble

    def row(self) -> "UniqueItemsRow":
        """Return the constraint of one row."""
        return UniqueItemsRow(self)


class UniqueItemsRow:
    """The state of one row."""

    def __init__(self, shared: UniqueItems) -> None:
        self._texts = shared.texts
        self._preamble: Preamble | None = shared.preamble.copy()
        self._follower = JsonText(shared.places)

    def advance(self, data: bytes) -> bool:
        """Process text that the grammar consumed. Return False if an item repeats another."""
        if self._preamble is not None:
            rest = self._preamble.feed(data)
            if rest is None:
                return True
            self._preamble, data = None, rest
        return self._follower.feed(data)

    def restrict(self, grammar: llguidance.LLMatcher, mask: Mask) -> None:
        """Remove the tokens from `mask` that would make an item repeat an earlier one.

        Parameters
        ----------
        grammar
            The state of the grammar that wrote `mask`. It is not changed.
        """
        follower = self._follower
        if self._preamble is not None:
            return
        if not follower.unique:
            self._keep(grammar, mask, _tokens(mask & self._texts.enters))
            return
        critical = self._critical(follower, mask)
        self._keep(grammar, mask, _tokens(mask & critical))
        for tokens in self._repeating(follower, mask):
            for token in tokens:  # the longest first
                if self._has_way_out(grammar, token):
                    break  # so have the shorter ones, on the way to it
                _forbid(mask, token)

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = copy.copy(self)
        twin._follower = self._follower.copy()
        twin._preamble = self._preamble.copy() if self._preamble is not None else None
        return twin

    def _critical(self, follower: JsonText, mask: Mask) -> Mask:
        """Return the tokens that may end a value; take odd spellings out of `mask`."""
        if follower.part is not Part.STRING:
            return self._texts.ends
        if follower.escaped:
            mask &= ~self._texts.after_backslash
            return self._texts.quotes_after_backslash
        mask &= ~self._texts.escapes
        return self._texts.quotes

    def _keep(self, grammar: llguidance.LLMatcher, mask: Mask, tokens: list[int]) -> None:
        for token in tokens:
            if not self._has_way_out(grammar, token):
                _forbid(mask, token)

    def _repeating(self, follower: JsonText, mask: Mask) -> Iterator[list[int]]:
        """Yield the tokens in `mask` along each earlier item, the longest first."""
        seen: set[int] = set()
        for container in follower.containers:
            if not container.unique or container.is_open:
                continue
            written = follower.written(container)
            rests = {item[len(written) :] for item in container.items if item.startswith(written)}
            if written == b"-":
                rests.add(b"0")
            for rest in sorted(rests)[:_MOST_ITEMS]:
                found = []
                for end in range(min(len(rest), 24), 0, -1):
                    for token in self._texts.ids.get(rest[:end], ()):
                        if token not in seen and _allows(mask, token):
                            found.append(token)
                seen.update(found)
                if found:
                    yield found

    def _has_way_out(self, grammar: llguidance.LLMatcher, token: int) -> bool:
        """Whether a token leaves a way to end the item, or the array, without a repetition."""
        follower = self._follower.copy()
        if not follower.feed(self._texts.texts[token]):
            return False
        if not follower.may_repeat():
            return True
        ahead = grammar.deep_copy()
        if ahead.try_consume_tokens([token]) < 1:
            return False
        return self._leads_out(ahead, follower, set())

    def _leads_out(
        self, grammar: llguidance.LLMatcher, follower: JsonText, asked: set[bytes]
    ) -> bool:
        if grammar.is_accepting() or not follower.may_repeat():
            return True
        # One text has many sequences of tokens.
        if follower.text in asked:
            return False
        asked.add(follower.text)
        if len(asked) > _MOST_STATES:
            return True
        mask = np.zeros(words(self._texts.width), np.uint32)
        grammar.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        free = mask.copy()
        free &= ~self._critical(follower, free)
        for tokens in self._repeating(follower, mask):
            for token in tokens:
                _forbid(free, token)
        if free.any():
            return True
        texts = self._texts.texts
        for token in sorted(_tokens(mask), key=lambda token: len(texts[token])):
            after = follower.copy()
            if not texts[token] or not after.feed(texts[token]):
                continue
            if not after.may_repeat():
                return True
            ahead = grammar.deep_copy()
            if ahead.try_consume_tokens([token]) == 1 and self._leads_out(ahead, after, asked):
                return True
        return False


def _tokens(mask: Mask) -> list[int]:
    if not mask.any():
        return []
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()


def _allows(mask: Mask, token: int) -> bool:
    return bool(mask[token // 32] >> np.uint32(token % 32) & np.uint32(1))


def _forbid(mask: Mask, token: int) -> None:
    mask[token // 32] &= ~np.uint32(1 << (token % 32))
