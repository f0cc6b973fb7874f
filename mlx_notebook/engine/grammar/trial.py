"""Grammars of strangers are compiled in a process of their own first, which may hang or crash.

llguidance counts its work, but not all of it: a few characters of a regular expression or of a
schema keep it busy for ever, and long chains of rules overflow its stack. A grammar that ends well
here ends well in the engine too. `python -m` runs one trial: the request comes on standard input.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import llguidance
import msgspec
from llguidance import TokenizerWrapper

from mlx_notebook.engine.grammar.errors import GrammarError
from mlx_notebook.engine.grammar.limits import LIMITS

_T = TypeVar("_T")

CPU_SECONDS = 5
_WALL_SECONDS = 60.0
"""A loaded machine gives the trial its seconds late."""
_MEMORY = 4 << 30
_STACK = 8 << 20
ENGINE_STACK = 2 * _STACK
"""What has room in the trial has room in the engine."""

_stack_size = threading.Lock()


class _Request(msgspec.Struct):
    """A grammar and what it may name of a vocabulary."""

    grammar: str
    special: dict[str, int]
    width: int


def attempt(grammar: str, special: Mapping[str, int], width: int) -> None:
    """Compile `grammar` where it can do no harm.

    Parameters
    ----------
    special, width
        As those of `Tokens`.

    Raises
    ------
    GrammarError
        If the trial ends by force or crashes. What llguidance itself has to say is not told here.
    RuntimeError
        If there could be no trial.
    """
    request = msgspec.json.encode(_Request(grammar, dict(special), width))
    command = [sys.executable, "-P", "-m", "mlx_notebook.engine.grammar.trial"]
    try:
        ended = subprocess.run(
            command, input=request, capture_output=True, timeout=_WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise GrammarError("it takes too long to compile: simplify it") from None
    if ended.returncode == -signal.SIGXCPU:
        raise GrammarError("it takes too long to compile: simplify it")
    if ended.returncode < 0:
        raise GrammarError("it is nested too deeply, or too large: simplify it")
    if ended.returncode:
        raise RuntimeError(f"A grammar could not be tried: {ended.stderr.decode(errors='replace')}")


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


def _compile(request: _Request) -> None:
    vocabulary = TokenizerWrapper(_Vocabulary(request.special, request.width))
    matcher = llguidance.LLMatcher(
        llguidance.LLTokenizer(vocabulary), request.grammar, log_level=0, limits=LIMITS
    )
    if not matcher.is_error():
        matcher.compute_bitmask()


def _main() -> int:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, hard))
    # Where an orphan would hang, the kernel ends it; no file is written of a crash.
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS does not keep to it
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    on_a_stack_of(_STACK, lambda: _compile(request))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
