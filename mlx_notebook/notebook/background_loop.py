"""An event loop on a thread of its own, for synchronous code that calls async functions.

Async tools of a synchronous chat and the sessions of MCP servers run on it. It starts when first
needed and ends with the kernel.
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
    """Return the running loop."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            # A daemon, so that a tool that waits cannot delay the end of the kernel.
            threading.Thread(target=_loop.run_forever, name="mlx_notebook", daemon=True).start()
        return _loop


def submit(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start a coroutine on the loop. Cancelling the future cancels the coroutine.

    The coroutine has the context variables of the caller, so that its output goes to the caller's
    cell.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop until it ends. An interrupt cancels it."""
    future = submit(coroutine)
    try:
        return future.result()
    finally:
        future.cancel()
