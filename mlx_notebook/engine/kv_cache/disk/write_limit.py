"""Limits how much the prefix cache writes to disk within an hour."""

import threading
import time
from collections import deque
from collections.abc import Callable

from mlx_notebook.protocol import DiskWrites

_HOUR, _MINUTE = 3600.0, 60.0


class WriteLimit:
    """Counts the bytes written in the last hour, by the minute. Any thread may use it.

    Parameters
    ----------
    limit
        Most bytes within an hour. 0: no limit.
    clock
        Returns seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic):
        self._limit, self._clock = limit, clock
        self._minutes: deque[tuple[float, int, int]] = deque()
        self._written = self._skipped = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Count `size` bytes as written and return True, or as skipped if they are too many."""
        with self._lock:
            written, _ = self._last_hour()
            allowed = not self._limit or written + size <= self._limit
            self._add(*((size, 0) if allowed else (0, size)))
            return allowed

    @property
    def status(self) -> DiskWrites:
        """What was written and skipped, in the last hour and in all."""
        with self._lock:
            return DiskWrites(self._limit, *self._last_hour(), self._written, self._skipped)

    def _add(self, written: int, skipped: int) -> None:
        self._written += written
        self._skipped += skipped
        now = self._clock()
        if self._minutes and now - self._minutes[-1][0] < _MINUTE:
            began, before, skipped_before = self._minutes.pop()
            self._minutes.append((began, before + written, skipped_before + skipped))
        else:
            self._minutes.append((now, written, skipped))

    def _last_hour(self) -> tuple[int, int]:
        oldest = self._clock() - _HOUR - _MINUTE
        while self._minutes and self._minutes[0][0] < oldest:
            self._minutes.popleft()
        return sum(m[1] for m in self._minutes), sum(m[2] for m in self._minutes)
