"""The deadline of preparing a request: a time limit, or the moment its client disconnects."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mlx_notebook.engine.errors import Cancelled, LimitExceeded

_SECONDS = 60.0


class Deadline:
    """The deadline of one preparation.

    Parameters
    ----------
    seconds
        Time limit, counted from when the deadline becomes active.
    """

    def __init__(self, seconds: float = _SECONDS):
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Cancel the preparation: nobody waits for it any more."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether the preparation was cancelled."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise if the preparation must end.

        Raises
        ------
        Cancelled, LimitExceeded
            If it was cancelled, or has taken too long.
        """
        if self.stopped:
            raise Cancelled("the request was cancelled")
        if time.monotonic() > self._end:
            raise LimitExceeded(
                f"preparing the request took more than {self._seconds:.0f} seconds", "messages"
            )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current deadline of the thread."""
        self._end = time.monotonic() + self._seconds
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline:
    """Return the current deadline of the thread, or a new one if there is none."""
    return _current.get() or Deadline()
