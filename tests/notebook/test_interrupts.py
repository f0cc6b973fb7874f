"""The stop button reaches code on the main thread, whoever handles its signal outside."""

import asyncio
import contextlib
import signal
import socket
import threading

import pytest

from mlx_notebook.notebook import interrupts
from mlx_notebook.notebook.interrupts import LastingInterrupt, cancelling, interruptible


class Finalised:
    """An object whose finaliser runs while the user presses Ctrl-C: Python drops the exception."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def _quiet(monkeypatch):
    """What a finaliser raises is not shown."""
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)


lost = pytest.mark.usefixtures("_quiet")


@pytest.fixture(autouse=True)
def usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


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


@pytest.mark.parametrize("block", [interruptible, LastingInterrupt])
def test_on_another_thread_nothing_changes(block):
    handlers = []

    def run():
        with block():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def run_lasting(*steps):
    with LastingInterrupt():
        for step in steps:
            step()


def press():
    signal.raise_signal(signal.SIGINT)


def test_a_lasting_interrupt_is_raised_at_once():
    passed = []
    with pytest.raises(KeyboardInterrupt):
        run_lasting(press, lambda: passed.append(1))
    assert not passed


@lost
def test_an_interrupt_that_a_finaliser_swallowed_ends_the_block():
    passed = []
    with pytest.raises(KeyboardInterrupt):
        run_lasting(Finalised, lambda: passed.append(1))
    assert passed


@lost
def test_an_interrupt_that_was_swallowed_ends_a_wait_for_the_network(monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 0.05)
    here, there = socket.socketpair()
    with here, there, pytest.raises(KeyboardInterrupt):
        run_lasting(Finalised, lambda: here.recv(1))


@lost
def test_an_error_of_the_block_comes_before_an_interrupt_that_was_swallowed():
    with pytest.raises(ZeroDivisionError):
        run_lasting(Finalised, lambda: 1 / 0)


@lost
def test_nothing_is_raised_again_after_the_block(monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 0.0)
    for _ in range(300):
        with pytest.raises(KeyboardInterrupt):
            run_lasting(Finalised)


def test_a_script_keeps_its_own_handler():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("handled"))
    with LastingInterrupt():
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert seen == ["handled"]


def test_an_event_loop_that_ctrl_c_would_leave_cancels_its_task():
    states = []

    async def answer():
        with cancelling():
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                states.append("cancelled")
                raise

    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(answer())
    assert states == ["cancelled"]


def test_a_handler_that_lets_the_event_loop_sleep_cancels_its_task_at_once():
    woken = []

    async def answer():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def wake():
            woken.append("too late")
            loop.call_soon_threadsafe(lambda: None)

        # As the handler of a kernel does it.
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon(task.cancel))
        main = threading.main_thread().ident
        finger = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
        watchdog = threading.Timer(20, wake)
        with cancelling():
            finger.start()
            watchdog.start()
            try:
                await asyncio.Event().wait()
            finally:
                watchdog.cancel()

    loop = asyncio.new_event_loop()
    try:
        with contextlib.closing(loop), pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(answer())
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert woken == []
