"""Watch the state of the server, once for all panels of a kernel."""

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

MIN_UPDATE_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
# Some changes of the models (of their files) send no event.
_MODELS_SECONDS = 5.0
_PROGRESS_SECONDS = 0.5
_ROUND_TRIP_SECONDS = 10.0
_REPLAY_MESSAGE = "This notebook replays a recording without a server, so panels show nothing."


class Subscriber(Protocol):
    """A panel, as the watcher sees it.

    Attributes
    ----------
    topics
        The lists that it shows: `models`, `traces`, `usage`.
    """

    topics: frozenset[str]

    def show(self, watcher: "ServerWatcher") -> None:
        """Show the current state."""

    def heartbeat(self, seconds: float) -> None:
        """Report that the kernel is running. The next heartbeat comes within `seconds`."""


class ServerWatcher:
    """The server's status, models, traces and usage, kept current while there are subscribers.

    One connection to `mlx/events` receives the status. The lists are fetched when the status shows
    that they have changed. Subscribers are notified at most four times a second. If the server is
    gone, `problem` says so, and the watcher reconnects after up to four seconds.
    """

    def __init__(self, thread: PanelThread) -> None:
        self.thread = thread
        self.server: Server | None = None
        self.status: dict[str, Any] | None = None
        self.models: dict[str, Any] | None = None
        self.traces: list[dict[str, Any]] | None = None
        self.usage: dict[str, Any] | None = None
        # In seconds; None for a server of this machine.
        self.round_trip: float | None = None
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._subscribers: list[Subscriber] = []
        self._task: Any = None
        self._changed = self._refresh_requested = asyncio.Event()
        self._stale_lists: set[str] = set()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Notify `subscriber` of every change from now on."""
        with self._lock:
            is_new = subscriber not in self._subscribers
            if is_new:
                self.thread.hold(subscriber)
                self._subscribers.append(subscriber)
        # The view then knows from its start how long a running kernel may be silent.
        subscriber.heartbeat(HEARTBEAT_SECONDS)
        with self._lock:
            # A task that has failed is done, maybe before `start` has returned it.
            is_running = self._task is not None and not self._task.done()
            if not is_running:
                self._task = self.thread.start(self._run())
        if is_running and is_new:
            self.refresh(*subscriber.topics)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop notifying `subscriber`. The connection is closed with the last one."""
        with self._lock:
            if subscriber not in self._subscribers:
                return
            self._subscribers.remove(subscriber)
        if not self._subscribers and self._task is not None:
            self._task.cancel()
            self._task = self.status = self.models = self.traces = self.usage = None
        self.thread.release(subscriber)

    def refresh(self, *lists: str) -> None:
        """Fetch lists (`models`, `traces`, `usage`) again soon."""
        self._stale_lists.update(lists)
        self.thread.call(lambda: self._refresh_requested.set())
        self.thread.call(lambda: self._changed.set())

    def fetch(self) -> None:
        """Fetch what is missing now, in the calling thread."""
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
            if self._is_wanted("usage") and self.usage is None:
                self.usage = self.server.get("mlx/usage")
        except NotebookError as error:
            self.problem = str(error)

    def _is_wanted(self, name: str) -> bool:
        return any(name in subscriber.topics for subscriber in self._subscribers)

    async def _run(self) -> None:
        self._changed, self._refresh_requested = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._notify())
                group.create_task(self._stream_status())
                group.create_task(self._send_heartbeats())
        except Exception:
            log.exception(
                "The panels of this notebook are no longer updated. Run their cells again."
            )

    async def _notify(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for subscriber in [*self._subscribers]:
                subscriber.show(self)
            await asyncio.sleep(MIN_UPDATE_SECONDS)

    async def _send_heartbeats(self) -> None:
        while True:
            for subscriber in [*self._subscribers]:
                subscriber.heartbeat(HEARTBEAT_SECONDS)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _stream_status(self) -> None:
        failures = 0
        while True:
            if replayer.is_replayed():
                self.problem = _REPLAY_MESSAGE
                self._changed.set()
                await asyncio.sleep(_RETRY_SECONDS[-1])
                continue
            try:
                self.server = await asyncio.to_thread(connect)
                async with ServerClient.connect(self.server) as client:
                    lists = asyncio.create_task(self._refresh_lists(client))
                    network = asyncio.create_task(self._measure_round_trips(client))
                    try:
                        async for status in client.events("mlx/events"):
                            failures, self.problem = 0, None
                            self._receive(status)
                    finally:
                        lists.cancel()
                        network.cancel()
                self.problem = "The server closed the connection. Trying to reconnect …"
            except NotebookError as error:
                self.problem = f"{error} Trying to reconnect …"
            if _is_cancelled():
                return
            self._changed.set()
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    async def _measure_round_trips(self, client: ServerClient) -> None:
        self.round_trip = None
        while client.server.may_be_remote:
            try:
                self.round_trip = await client.round_trip()
            except NotebookError as error:
                # The stream of the status tells what is wrong.
                log.info("The round trip was not measured: %s", error)
            if _is_cancelled():
                return
            self._changed.set()
            await asyncio.sleep(_ROUND_TRIP_SECONDS)

    def _receive(self, status: dict[str, Any]) -> None:
        before, self.status = self.status, status
        self._changed.set()
        if before is None or _model_state(before) != _model_state(status):
            self._stale_lists.add("models")
        if before is None or _request_state(before) != _request_state(status):
            self._stale_lists.add("traces")
        if before is None or _usage_state(before) != _usage_state(status):
            self._stale_lists.add("usage")
        if self._stale_lists:
            self._refresh_requested.set()

    async def _refresh_lists(self, client: ServerClient) -> None:
        self._stale_lists |= {"models", "traces", "usage"}
        while True:
            stale, self._stale_lists = self._stale_lists, set()
            self._refresh_requested.clear()
            try:
                if "models" in stale and self._is_wanted("models"):
                    self.models = await client.get("mlx/models")
                if "traces" in stale and self._is_wanted("traces"):
                    self.traces = (await client.get("mlx/traces"))["data"]
                if "usage" in stale and self._is_wanted("usage"):
                    self.usage = await client.get("mlx/usage")
            except NotebookError as error:
                self.problem = str(error)
            if _is_cancelled():
                return
            self._changed.set()
            await asyncio.sleep(MIN_UPDATE_SECONDS)
            moving = any(m.get("progress") for m in (self.models or {}).get("models", ()))
            patience = _PROGRESS_SECONDS if moving else _MODELS_SECONDS
            try:
                # `asyncio.wait_for` can lose a cancellation that comes together with the event.
                async with asyncio.timeout(patience):
                    await self._refresh_requested.wait()
            except TimeoutError:
                self._stale_lists.add("models")


def _is_cancelled() -> bool:
    """Return whether the running task is to end.

    A request that is cancelled while its connection opens or closes may raise an error of the
    connection in place of the cancellation.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _model_state(status: dict[str, Any]) -> Any:
    resident = [(m["id"], m["bytes"], m["active"], m.get("pinned")) for m in status["models"]]
    return resident, status["loading"], status["default_model"]


def _request_state(status: dict[str, Any]) -> Any:
    totals = status["totals"]
    ended = totals["finished"] + totals["cancelled"] + totals["failed"]
    return ended, [request["id"] for request in status["requests"]]


def _usage_state(status: dict[str, Any]) -> Any:
    # A user may not see the requests of others, but what they add up to.
    return status["totals"], status["queue"], status["rates"]


watcher = ServerWatcher(shared_thread)
