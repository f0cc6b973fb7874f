"""A model's vocabulary as llguidance needs it."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import llguidance
from llguidance import hf

from mlx_notebook.engine.grammar.errors import GrammarError


class Tokens:
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
            # A failed assertion inside llguidance arrives as a BaseException.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
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

    def matcher(self, grammar: str) -> llguidance.LLMatcher:
        """Compile a grammar; raises GrammarError saying what of it is not understood."""
        try:
            matcher = llguidance.LLMatcher(self.ll, grammar, log_level=0)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise GrammarError(str(error)) from error
        if matcher.is_error():
            raise GrammarError(_first_line(matcher.get_error()))
        # The first mask of a grammar takes milliseconds; what it finds out serves all copies.
        matcher.compute_bitmask()
        return matcher


def _first_line(message: str) -> str:
    """Return the line of llguidance's message that names the fault."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    text = lines[0] if lines else "the grammar is not valid"
    # Where a schema is at fault, its place is one in a grammar that nobody but us has seen.
    text = re.sub(r"^at \d+\(\d+\): failed to compile JSON schema: ", "", text)
    if errors:
        text = f"{text} {errors[0].removeprefix('error:').strip()}"
    return text.rstrip(".")
