"""A model's vocabulary as llguidance needs it."""

import random
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import llguidance
import numpy as np
from llguidance import hf

from mlx_notebook.engine.sandbox import sandbox
from mlx_notebook.engine.sandbox.grammar_check import ENGINE_STACK, on_a_stack_of
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError, is_failure
from mlx_notebook.engine.sandbox.grammar_limits import LIMITS, MAX_TEXT, explain

_REHEARSED = 12
"""GrammarTokenizer of an answer that are written to try a grammar."""


class GrammarTokenizer:
    """llguidance's tokenizer of one model, padded to the width of the model's logits.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer, or mlx-lm's wrapper of one.
    width
        The last dimension of the model's logits; never less than the vocabulary.
    eos
        Ids of the tokens that end an answer; any of them is allowed where a grammar may end.

    Raises
    ------
    GrammarError
        If the tokenizer has no Rust backend, or one that llguidance cannot read.
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
        """Text -> id of the tokens that llguidance keeps apart from text."""
        is_special = self.ll.is_special_token
        return {text: token for text, token in self._added.items() if is_special(token)}

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes of a token; of a special token those of its name."""
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = self.ll.decode_bytes([token])
        return found

    def encode(self, data: bytes) -> list[int]:
        """Return tokens that spell `data`."""
        return self.ll.tokenize_bytes(data)

    def matcher(self, grammar: str, *, tried: bool = True) -> llguidance.LLMatcher:
        """Compile a grammar.

        Parameters
        ----------
        tried
            Whether to compile it in a sandbox first. For what strangers wrote.

        Raises
        ------
        GrammarError
            Saying what of it is not understood, cannot be enforced, or costs too much.
        """
        size = len(grammar.encode())
        if size > MAX_TEXT:
            raise GrammarError(f"it takes {size} bytes as a grammar, and {MAX_TEXT} at most")
        if tried:
            sandbox.try_grammar(grammar, self.special, self.width)
        matcher = on_a_stack_of(ENGINE_STACK, lambda: self._compiled(grammar))
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
        # The first mask of a grammar takes milliseconds; what it finds out serves all copies.
        matcher.compute_bitmask()
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
        self._rehearse(matcher.deep_copy())
        return matcher

    def _compiled(self, grammar: str) -> llguidance.LLMatcher:
        try:
            return llguidance.LLMatcher(self.ll, grammar, log_level=0, limits=LIMITS)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise GrammarError(explain(str(error))) from error

    def _rehearse(self, matcher: llguidance.LLMatcher) -> None:
        """Write the beginning of an answer: what a grammar costs shows after its first tokens.

        Raises GrammarError where the grammar cannot be followed.
        """
        choose = random.Random(0)  # noqa: S311 - any text does, the same every time
        mask = np.zeros((self.width + 31) // 32, np.uint32)
        for _ in range(_REHEARSED):
            matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
            if matcher.is_error():
                raise GrammarError(explain(matcher.get_error()))
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
            allowed = [token for token in np.flatnonzero(bits).tolist() if token not in self.eos]
            if not allowed or matcher.try_consume_tokens([choose.choice(allowed)]) < 1:
                break
        if matcher.is_error():
            raise GrammarError(explain(matcher.get_error()))
