"""Counts and rates of the engine, for `Stats`."""

import time
from collections import deque

import mlx.core as mx
import psutil

from mlx_notebook.protocol import Memory, Totals

_WINDOW = 1.0


class Rate:
    """Events a second over the last second."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> None:
        """Note `count` events."""
        self._marks.append((now, count))

    def value(self, now: float) -> float:
        """The rate at this moment."""
        while self._marks and self._marks[0][0] < now - _WINDOW:
            self._marks.popleft()
        return sum(count for _, count in self._marks) / _WINDOW


class Meter:
    """What the engine has done since it began."""

    def __init__(self) -> None:
        self.requests = self.finished = self.cancelled = self.failed = 0
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self._decode, self._prefill = Rate(), Rate()
        self._process = psutil.Process()

    def count(self, generated: int, prefilled: int) -> None:
        """Note the tokens of one step."""
        now = time.perf_counter()
        if generated:
            self.generated_tokens += generated
            self._decode.add(generated, now)
        if prefilled:
            self._prefill.add(prefilled, now)

    def totals(self) -> Totals:
        """The counts."""
        return Totals(
            self.requests,
            self.finished,
            self.cancelled,
            self.failed,
            self.prompt_tokens,
            self.cached_tokens,
            self.generated_tokens,
        )

    def rates(self) -> tuple[float, float]:
        """Generated and prompt tokens a second over the last second."""
        now = time.perf_counter()
        return self._decode.value(now), self._prefill.value(now)

    def memory(self, prefixes: int) -> Memory:
        """Memory of MLX and of this process, in bytes."""
        return Memory(
            mx.get_active_memory(),
            mx.get_cache_memory(),
            mx.get_peak_memory(),
            self._process.memory_info().rss,
            prefixes,
        )
