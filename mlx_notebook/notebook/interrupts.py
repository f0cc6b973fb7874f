"""Let the stop button interrupt code on the main thread, also in async cells."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the block when the kernel is interrupted.

    In an async cell, ipykernel turns an interrupt into a cancellation of the cell. That does not
    reach a function that blocks the event loop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
