"""The thread of the panels runs while somebody holds it."""

import asyncio
import threading

import pytest

from mlx_notebook.panels.base.panel_thread import PanelThread


async def thread_name():
    return threading.current_thread().name


def test_it_runs_coroutines_while_it_is_held():
    thread = PanelThread()
    assert thread.start(thread_name()) is None
    thread.hold("a")
    thread.hold("b")
    assert thread.start(thread_name()).result(20) == "mlx-notebook-panels"
    thread.release("a")
    assert thread.alive
    thread.release("b")
    assert not thread.alive
    assert thread.start(thread_name()) is None


def test_the_last_release_cancels_what_runs():
    thread, cancelled = PanelThread(), threading.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    thread.hold("a")
    future = thread.start(forever())
    thread.start(thread_name()).result(20)
    thread.release("a")
    assert cancelled.wait(20)
    assert future.cancelled()


def test_it_starts_again_after_it_has_ended():
    thread = PanelThread()
    for _ in range(2):
        thread.hold("a")
        called = threading.Event()
        thread.call(called.set)
        assert called.wait(20)
        thread.release("a")


def test_a_loop_that_cannot_start_is_told(monkeypatch):
    def fail(coroutine):
        coroutine.close()
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "run", fail)
    thread = PanelThread()
    with pytest.raises(OSError, match="Too many open files"):
        thread.hold("a")
    assert not thread.alive
