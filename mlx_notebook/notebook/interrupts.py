"""Let the stop button and Ctrl-C stop code on the main thread, also in async cells."""

import _thread
import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from mlx_notebook.notebook.shell import in_kernel, in_main_thread

AGAIN_SECONDS = 1.0
"""An interrupt that ended nothing is raised again after so long: time to close a connection."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the block when the kernel is interrupted.

    In an async cell, ipykernel turns an interrupt into a cancellation of the cell. That does not
    reach a function that blocks the event loop.
    """
    if not in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class LastingInterrupt:
    """Raise `KeyboardInterrupt` in the block when it is interrupted, until the block has ended.

    Python cannot raise an exception out of a finaliser or the callback of a weak reference: it
    prints the exception and goes on. Imports and the garbage collector run such code at any time.
    An interrupt that strikes there would be lost, and the model would go on to its limit.

    A script that handles SIGINT itself keeps its handler.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._is_used = self._is_inside = self._is_interrupted = False
        self._sending = threading.Lock()

    def __enter__(self) -> Self:
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._is_used = in_main_thread() and (is_default or in_kernel())
        if self._is_used:
            self._before = signal.signal(signal.SIGINT, self._handle)
            self._is_inside = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_inside = False
        if not self._is_used:
            return
        with self._sending:
            pass  # nothing more is sent after this
        signal.sigpending()  # a system call: what was sent has arrived after it
        signal.signal(signal.SIGINT, self._before)
        if self._is_interrupted and kind is None:
            raise KeyboardInterrupt

    def _handle(self, _: int, frame: FrameType | None) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            # `threading.Thread` takes locks that the interrupted code may hold.
            _thread.start_new_thread(self._send_again, ())
        # An exception at the first instruction of `__exit__` would leave this handler in place.
        is_leaving = frame is not None and frame.f_code is LastingInterrupt.__exit__.__code__
        if self._is_inside and not is_leaving:
            raise KeyboardInterrupt

    def _send_again(self) -> None:
        while True:
            time.sleep(AGAIN_SECONDS)
            with self._sending:
                if not self._is_inside:
                    return
                # To this thread, so that a system call that waits returns.
                signal.pthread_kill(_main_thread(), signal.SIGINT)


def _main_thread() -> int:
    number = threading.main_thread().ident
    assert number is not None
    return number


@contextmanager
def cancelling() -> Iterator[None]:
    """Cancel the running task on an interrupt at once, whoever handles it.

    In a terminal, IPython leaves an event loop on an interrupt, and its tasks where they are. A
    kernel and `asyncio.run` cancel the task themselves. But the handler of a kernel does not wake
    the event loop, so a task that waits for the network would be cancelled when something comes.
    """
    before = signal.getsignal(signal.SIGINT)
    task = asyncio.current_task()
    if not in_main_thread() or not callable(before) or task is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        if before is signal.default_int_handler:
            loop.call_soon_threadsafe(task.cancel)
            return
        before(number, frame)
        loop.call_soon_threadsafe(_wake)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wake() -> None:
    """Do nothing: an event loop that is to call this does not sleep."""
