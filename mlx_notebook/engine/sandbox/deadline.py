"""When the preparation of a request ends: after a time, or as soon as its client has left."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mlx_notebook.engine.errors import Cancelled, LimitExceeded

_SECONDS = 60.0


class Deadline:
    """The end of one preparation.

    Parameters
    ----------
    seconds
        How long it may take from when it becomes active.
    """

    def __init__(self, seconds: float = _SECONDS):
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End it now: nobody waits for it."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for it."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Go on only while someone waits and there is time.

        Raises
        ------
        Cancelled, LimitExceeded
            If it was stopped, or has taken too long.
        """
        if self.stopped:
            raise Cancelled("the request was cancelled")
        if time.monotonic() > self._end:
            raise LimitExceeded(
                f"preparing the request took more than {self._seconds:.0f} seconds", "messages"
            )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the deadline of what this thread does meanwhile."""
        self._end = time.monotonic() + self._seconds
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline:
    """The deadline of what this thread does; a new one where none is active."""
    return _current.get() or Deadline()
