"""The stop button reaches code on the main thread, whoever handles its signal outside."""

import signal
import threading

import pytest

from mlx_notebook.notebook.interrupts import interruptible


def interrupted():
    with interruptible():
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_is_raised_inside_and_the_old_handler_returns():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("handled"))
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["handled"]


def test_on_another_thread_nothing_changes():
    handlers = []

    def run():
        with interruptible():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
