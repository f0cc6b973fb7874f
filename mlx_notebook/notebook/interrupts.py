"""Letting the stop button reach what runs on the main thread, in cells of either kind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in here on the kernel's stop button.

    In a cell that awaits, ipykernel turns the button into a cancellation of the cell, which
    cannot reach a function that holds up the event loop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
