"""The thread that sends the requests of all panels of a kernel."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

STOP_SECONDS = 5.0


class PanelThread:
    """An event loop in a thread, which runs while it is held.

    All panels share it, so that no request blocks a cell. The last `release` cancels what is
    running and ends the thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None

    def hold(self, user: object) -> None:
        """Keep the thread running until `user` releases it. Start it if necessary."""
        with self._lock:
            self._users.add(user)
            if self._thread is None:
                self._start()

    def release(self, user: object) -> None:
        """Release the thread. It ends when nobody holds it."""
        with self._lock:
            self._users.discard(user)
            if self._users or self._thread is None:
                return
            thread, self._thread = self._thread, None
            loop, stopped = self._loop, self._stopped
            self._loop = self._stopped = None
        assert loop is not None
        assert stopped is not None
        loop.call_soon_threadsafe(stopped.set)
        if thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any] | None":
        """Run a coroutine in the thread. Without a thread, close it and return `None`."""
        with self._lock:
            if self._loop is None:
                coroutine.close()
                return None
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function in the thread soon."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def _start(self) -> None:
        started: Future[None] = Future()

        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            self._stopped = stopped = asyncio.Event()
            started.set_result(None)
            await stopped.wait()  # `asyncio.run` then cancels the remaining tasks

        def run() -> None:
            try:
                asyncio.run(live())
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=run, name="mlx-notebook-panels", daemon=True)
        thread.start()
        started.result()
        self._thread = thread


shared_thread = PanelThread()
