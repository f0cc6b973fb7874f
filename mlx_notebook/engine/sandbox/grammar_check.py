"""Check a grammar in a sandbox process before the engine compiles it.

llguidance limits most of its work, but not all: a short regular expression or schema can keep it
busy for ever, and long chains of rules overflow its stack. The check compiles the grammar for a
vocabulary of single bytes. A grammar that compiles there compiles in the engine too.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import llguidance
from llguidance import TokenizerWrapper

from mlx_notebook.engine.sandbox.grammar_errors import is_failure
from mlx_notebook.engine.sandbox.grammar_limits import LIMITS

_T = TypeVar("_T")

_STACK = 8 << 20
ENGINE_STACK = 2 * _STACK
"""Stack size in the engine. It is larger, so what fits in the sandbox fits in the engine."""

_stack_size = threading.Lock()


def check_grammar(grammar: str, special: Mapping[str, int], width: int) -> None:
    """Compile a grammar and its first mask. An invalid grammar is not an error here.

    Parameters
    ----------
    special, width
        As in `GrammarTokenizer`.
    """
    on_a_stack_of(_STACK, lambda: _compile(grammar, special, width))


def on_a_stack_of(size: int, work: Callable[[], _T]) -> _T:
    """Run `work` on a thread with a stack of `size` bytes and return its result."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised in the caller, including panics of llguidance
            failures.append(error)

    with _stack_size:
        before = threading.stack_size(size)
        try:
            thread = threading.Thread(target=run, name="grammar")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


class _Vocabulary:
    """A vocabulary of all bytes, and the special tokens at the model's ids."""

    bos_token_id = None

    def __init__(self, special: Mapping[str, int], width: int) -> None:
        size = max(width, 256 + len(special), *(token + 1 for token in special.values()), 0)
        self.tokens = [b""] * size
        for text, token in special.items():
            self.tokens[token] = text.encode()
        taken = frozenset(special.values())
        self._ids = [token for token in range(size) if token not in taken][:256]
        for byte, token in enumerate(self._ids):
            self.tokens[token] = bytes([byte])
        self.special_token_ids = sorted(taken)
        self.eos_token_id = self.special_token_ids[0] if taken else size - 1

    def __call__(self, data: bytes) -> list[int]:
        return [self._ids[byte] for byte in data]


def _compile(grammar: str, special: Mapping[str, int], width: int) -> None:
    vocabulary = TokenizerWrapper(_Vocabulary(special, width))
    tokenizer = llguidance.LLTokenizer(vocabulary)
    try:
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    except BaseException as error:
        if not is_failure(error):
            raise
        return
    if not matcher.is_error():
        matcher.compute_bitmask()
