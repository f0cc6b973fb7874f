"""Remembers which blocks of tokens have come before, to tell what is likely to come back."""

import threading

_MOST_BLOCKS = 2**15


class SeenBlocks:
    """The blocks of past prompts and answers, by name. Any thread may use it.

    A block returns if a later prompt has it too. Answers count as seen once: the next turn of the
    conversation has them in its prompt.

    Parameters
    ----------
    most
        How many blocks are remembered. The least recently seen ones are forgotten first.
    """

    def __init__(self, most: int = _MOST_BLOCKS):
        self._most = most
        self._returned: dict[str, bool] = {}
        self._lock = threading.Lock()

    def add_prompt(self, names: list[str]) -> None:
        """Record the blocks of a new prompt: those that were seen before return."""
        self._add(names, again=True)

    def add_sequence(self, names: list[str]) -> None:
        """Record the blocks of a prompt with its answer. The prompt was recorded before."""
        self._add(names, again=False)

    def returned(self, names: list[str]) -> int:
        """Return how many of a sequence's first blocks have come in two prompts."""
        with self._lock:
            for count in range(len(names), 0, -1):
                if self._returned.get(names[count - 1]):
                    return count
        return 0

    def _add(self, names: list[str], *, again: bool) -> None:
        with self._lock:
            # From the end, so that the beginning is the last to be forgotten.
            for name in reversed(names):
                before = self._returned.pop(name, None)
                self._returned[name] = before is not None and (before or again)
            while len(self._returned) > self._most:
                del self._returned[next(iter(self._returned))]
