"""A model's tokenizer for llguidance, and the compiler of grammars for it."""

import random
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import llguidance
import numpy as np
from llguidance import hf

from mlx_notebook.engine.grammar.unique.unique_items import TokenTexts
from mlx_notebook.engine.sandbox import sandbox
from mlx_notebook.engine.sandbox.grammar_check import ENGINE_STACK, on_a_stack_of
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError, is_failure
from mlx_notebook.engine.sandbox.grammar_limits import LIMITS, MAX_TEXT, explain

_DRY_RUN_TOKENS = 12
"""Tokens that are generated to test a grammar."""


class GrammarTokenizer:
    """The tokenizer of one model for llguidance, padded to the width of the model's logits.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer, or mlx-lm's wrapper of one.
    width
        Last dimension of the model's logits; at least the size of the vocabulary.
    eos
        Ids of the end tokens. All are allowed where a grammar may end.

    Raises
    ------
    GrammarError
        If the tokenizer has no Rust backend, or llguidance cannot read it.
    """

    def __init__(self, tokenizer: Any, width: int, eos: Sequence[int]) -> None:
        wrapped = getattr(tokenizer, "_tokenizer", None)
        if hasattr(wrapped, "backend_tokenizer"):
            tokenizer = wrapped
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise GrammarError(
                "Output cannot be constrained with this model: its tokenizer has no Rust backend "
                "(tokenizer.json)."
            )
        try:
            # Takes about a second for 130,000 tokens.
            self.ll = hf.from_tokenizer(tokenizer, n_vocab=width, eos_token=list(eos))
        except BaseException as error:
            if not is_failure(error):
                raise
            raise GrammarError(
                f"Output cannot be constrained with this model: llguidance cannot read its "
                f"tokenizer ({error})."
            ) from error
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        self._bytes: dict[int, bytes] = {}
        self.width = width
        self.eos = frozenset(eos)

    @cached_property
    def special(self) -> dict[str, int]:
        """Text -> id of the special tokens, which llguidance does not treat as text."""
        is_special = self.ll.is_special_token
        return {text: token for text, token in self._added.items() if is_special(token)}

    @cached_property
    def texts(self) -> TokenTexts:
        """The text of each token; empty for special ones. Takes a fraction of a second to read."""
        is_special = self.ll.is_special_token
        return TokenTexts(
            (b"" if is_special(token) else self.bytes_of(token) for token in range(self.width)),
            self.width,
        )

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes of a token. For a special token they are its name."""
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = self.ll.decode_bytes([token])
        return found

    def encode(self, data: bytes) -> list[int]:
        """Tokenize bytes."""
        return self.ll.tokenize_bytes(data)

    def matcher(self, grammar: str, *, check: bool = True) -> llguidance.LLMatcher:
        """Compile a grammar.

        Parameters
        ----------
        check
            Compile the grammar in a sandbox first. Needed for untrusted grammars.

        Raises
        ------
        GrammarError
            If the grammar is not valid, cannot be enforced, or is too expensive.
        """
        size = len(grammar.encode())
        if size > MAX_TEXT:
            raise GrammarError(f"it takes {size} bytes as a grammar, and {MAX_TEXT} at most")
        if check:
            sandbox.check_grammar(grammar, self.special, self.width)
        matcher = on_a_stack_of(ENGINE_STACK, lambda: self._compiled(grammar))
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
        # The first mask takes milliseconds. All copies of the matcher reuse the work.
        matcher.compute_bitmask()
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
        self._dry_run(matcher.deep_copy())
        return matcher

    def _compiled(self, grammar: str) -> llguidance.LLMatcher:
        try:
            return llguidance.LLMatcher(self.ll, grammar, log_level=0, limits=LIMITS)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise GrammarError(explain(str(error))) from error

    def _dry_run(self, matcher: llguidance.LLMatcher) -> None:
        """Generate the beginning of an answer: the cost of a grammar shows after a few tokens.

        Raises
        ------
        GrammarError
            If the grammar cannot be followed.
        """
        choose = random.Random(0)  # noqa: S311 - the same text every time
        mask = np.zeros((self.width + 31) // 32, np.uint32)
        for _ in range(_DRY_RUN_TOKENS):
            matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
            if matcher.is_error():
                raise GrammarError(explain(matcher.get_error()))
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
            allowed = [token for token in np.flatnonzero(bits).tolist() if token not in self.eos]
            if not allowed or matcher.try_consume_tokens([choose.choice(allowed)]) < 1:
                break
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
