"""One event loop on a thread of its own: what is async, for code that is not.

Async tools of a sync chat run on it, and so do the sessions of MCP servers. It begins with the
first of them and ends with the kernel.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """Give the loop, which runs."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            # A daemon, so that nothing that a tool waits for can hold up the kernel's end.
            threading.Thread(target=_loop.run_forever, name="mlx_notebook", daemon=True).start()
        return _loop


def submit(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start a coroutine on the loop; cancelling the future cancels it.

    It sees the context variables of the caller, so that what it prints goes to the caller's cell.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop to its end; an interrupt cancels it."""
    future = submit(coroutine)
    try:
        return future.result()
    finally:
        future.cancel()
