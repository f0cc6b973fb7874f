"""What the server does, followed for all panels of a kernel at once."""

import asyncio
import logging
import threading
from typing import Any, Protocol

from mlx_notebook.notebook.connection.connection import connect
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.recording import replayer
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.panels.base.panel_thread import PanelThread, shared_thread
from mlx_notebook.panels.base.server_client import ServerClient

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# The list of models also changes by other hands, of which the events do not tell.
_MODELS_SECONDS = 5.0
_PROGRESS_SECONDS = 0.5
_REPLAYED = "This notebook replays a recording without a server, so panels show nothing."


class Subscriber(Protocol):
    """A panel, as the feed sees it; `topics` names the lists that it shows."""

    topics: frozenset[str]

    def show(self, watcher: "ServerWatcher") -> None:
        """Show what the feed knows now."""

    def heartbeat(self, seconds: float) -> None:
        """Tell that the kernel lives, and will tell so again within `seconds`."""


class ServerWatcher:
    """The latest status, models and traces, kept fresh while somebody listens.

    One connection to `mlx/events`; the lists are fetched when the events tell that they have
    changed. Listeners are told at most four times a second. Where the server is gone, `problem`
    says so and it is looked for again, at longer and longer intervals up to four seconds.
    """

    def __init__(self, thread: PanelThread) -> None:
        self.thread = thread
        self.server: Server | None = None
        self.status: dict[str, Any] | None = None
        self.models: dict[str, Any] | None = None
        self.traces: list[dict[str, Any]] | None = None
        self.problem: str | None = None
        # A panel that is collected while another one joins leaves within that one's turn.
        self._lock = threading.RLock()
        self._subscribers: list[Subscriber] = []
        self._running: Any = None
        self._changed = self._wanted = asyncio.Event()
        self._stale: set[str] = set()

    def join(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` of every change from now on."""
        with self._lock:
            is_new = subscriber not in self._subscribers
            if is_new:
                self.thread.hold(subscriber)
                self._subscribers.append(subscriber)
        # So that a view knows from its start how long a kernel that lives may be silent.
        subscriber.heartbeat(HEARTBEAT_SECONDS)
        if self._running is None:
            self._running = self.thread.start(self._run())
        elif is_new:
            self.refresh(*subscriber.topics)

    def leave(self, subscriber: Subscriber) -> None:
        """Tell it no more; with the last one the connection is closed."""
        with self._lock:
            if subscriber not in self._subscribers:
                return
            self._subscribers.remove(subscriber)
        if not self._subscribers and self._running is not None:
            self._running.cancel()
            self._running = self.status = self.models = self.traces = None
        self.thread.release(subscriber)

    def refresh(self, *lists: str) -> None:
        """Fetch lists (`models`, `traces`) again, soon."""
        self._stale.update(lists)
        self.thread.call(lambda: self._wanted.set())
        self.thread.call(lambda: self._changed.set())

    def look(self) -> None:
        """Ask the server once, here and now, for what is wanted and not known yet."""
        try:
            if self.status is None:
                self.server = connect()
                self.status = self.server.get("mlx/status")
                self.problem = None
            if self.server is None:
                return
            if self._is_wanted("models") and self.models is None:
                self.models = self.server.get("mlx/models")
            if self._is_wanted("traces") and self.traces is None:
                self.traces = self.server.get("mlx/traces")["data"]
        except NotebookError as error:
            self.problem = str(error)

    def _is_wanted(self, name: str) -> bool:
        return any(name in subscriber.topics for subscriber in self._subscribers)

    async def _run(self) -> None:
        self._changed, self._wanted = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell())
                group.create_task(self._follow())
                group.create_task(self._beat())
        except Exception:
            log.exception(
                "The panels of this notebook are no longer updated. Run their cells again."
            )
            self._running = None

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for subscriber in [*self._subscribers]:
                subscriber.show(self)
            await asyncio.sleep(SHORTEST_SECONDS)

    async def _beat(self) -> None:
        while True:
            for subscriber in [*self._subscribers]:
                subscriber.heartbeat(HEARTBEAT_SECONDS)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _follow(self) -> None:
        failures = 0
        while True:
            if replayer.is_replayed():
                self.problem = _REPLAYED
                self._changed.set()
                await asyncio.sleep(_PAUSES[-1])
                continue
            try:
                self.server = await asyncio.to_thread(connect)
                async with ServerClient.using(self.server) as requests:
                    lists = asyncio.create_task(self._keep_lists(requests))
                    try:
                        async for status in requests.events("mlx/events"):
                            failures, self.problem = 0, None
                            self._take(status)
                    finally:
                        lists.cancel()
                self.problem = "The server closed the connection. Trying to reconnect …"
            except NotebookError as error:
                self.problem = f"{error} Trying to reconnect …"
            self._changed.set()
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1

    def _take(self, status: dict[str, Any]) -> None:
        before, self.status = self.status, status
        self._changed.set()
        if before is None or _models_of(before) != _models_of(status):
            self._stale.add("models")
        if before is None or _work_of(before) != _work_of(status):
            self._stale.add("traces")
        if self._stale:
            self._wanted.set()

    async def _keep_lists(self, requests: ServerClient) -> None:
        self._stale |= {"models", "traces"}
        while True:
            stale, self._stale = self._stale, set()
            self._wanted.clear()
            try:
                if "models" in stale and self._is_wanted("models"):
                    self.models = await requests.get("mlx/models")
                if "traces" in stale and self._is_wanted("traces"):
                    self.traces = (await requests.get("mlx/traces"))["data"]
            except NotebookError as error:
                self.problem = str(error)
            self._changed.set()
            await asyncio.sleep(SHORTEST_SECONDS)
            moving = any(m.get("progress") for m in (self.models or {}).get("models", ()))
            patience = _PROGRESS_SECONDS if moving else _MODELS_SECONDS
            try:
                # `wait_for` loses a cancellation that comes together with the event.
                async with asyncio.timeout(patience):
                    await self._wanted.wait()
            except TimeoutError:
                self._stale.add("models")


def _models_of(status: dict[str, Any]) -> Any:
    resident = [(m["id"], m["bytes"], m["active"], m.get("pinned")) for m in status["models"]]
    return resident, status["loading"], status["default_model"]


def _work_of(status: dict[str, Any]) -> Any:
    totals = status["totals"]
    ended = totals["finished"] + totals["cancelled"] + totals["failed"]
    return ended, [request["id"] for request in status["requests"]]


watcher = ServerWatcher(shared_thread)
