"""Async code runs on a loop of its own for callers that are not async."""

import asyncio
import contextvars
import threading

import pytest

from mlx_notebook.notebook import background_loop

CELL = contextvars.ContextVar("cell", default=None)


async def where():
    return threading.current_thread().name, CELL.get()


def test_it_runs_on_one_other_thread_with_the_context_of_the_caller():
    CELL.set(3)
    assert background_loop.wait(where()) == ("mlx_notebook", 3)
    assert background_loop.loop() is background_loop.loop()


def test_an_error_comes_back_to_the_caller():
    async def fail():
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        background_loop.wait(fail())


def test_cancelling_the_future_cancels_the_coroutine():
    began, cancelled = threading.Event(), threading.Event()

    async def forever():
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    future = background_loop.submit(forever())
    assert began.wait(20)
    future.cancel()
    assert cancelled.wait(20)
