"""A grammar compiled for a vocabulary of bytes, in a sandbox, before the engine compiles it.

llguidance counts its work, but not all of it: a few characters of a regular expression or of a
schema keep it busy for ever, and long chains of rules overflow its stack. A grammar that ends well
in a sandbox ends well in the engine too.
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
"""What has room in the sandbox has room in the engine."""

_stack_size = threading.Lock()


def attempt(grammar: str, special: Mapping[str, int], width: int) -> None:
    """Compile a grammar and its first mask. Whether it is valid the engine finds out after this.

    Parameters
    ----------
    special, width
        As those of `GrammarTokenizer`.
    """
    on_a_stack_of(_STACK, lambda: _compile(grammar, special, width))


def on_a_stack_of(size: int, work: Callable[[], _T]) -> _T:
    """Return what `work` returns, run on a thread with a stack of `size` bytes."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # told to the caller, panics of llguidance among them
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
    """Every byte as a token, and the special tokens where the model has them."""

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
