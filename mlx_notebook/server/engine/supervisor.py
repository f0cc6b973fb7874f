"""Starts the engine when it is needed, watches it, and restarts it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from logging import Logger

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Struct

from mlx_notebook.protocol import (
    Cancel,
    Command,
    Done,
    EngineConfig,
    Event,
    Frame,
    Heartbeat,
    Ready,
    Stats,
)
from mlx_notebook.server.engine.engine_process import EngineProcess
from mlx_notebook.server.engine.in_flight_requests import InFlightRequests
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError, Unavailable
from mlx_notebook.server.telemetry.engine_telemetry import EngineTelemetry
from mlx_notebook.server.telemetry.metrics import ENGINE_RESTARTS
from mlx_notebook.server.wire.native.status_types import EngineState, EngineStatus

# An engine that ends so often, with no answer in between, is only restarted on request.
_MOST_DEATHS = 4
_FAILED_PAUSE_SECONDS = 10.0
_SHORTEST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.25, 8.0
# How many times `step` an engine has for what it is doing: a first step may compile, and loading
# takes as long as its disk.
_PATIENCE = {"first step": 4.0, "loading": float("inf")}


class SupervisorLimits(Struct, frozen=True):
    """Bounds of the supervisor: seconds, and `queue` requests waiting beyond the batch.

    `heartbeat` is how long the engine may be silent, `step` how long it may be held in one step.
    """

    queue: int = 64
    heartbeat: float = 30.0
    step: float = 300.0
    start: float = 180.0
    keep_alive: float = 10.0


class Supervisor:
    """Owns the engine process, and tells those who wait for it what became of it.

    Args:
        config: What the engine is told at its start.
        limits: How long to wait, and for how many.
        in_flight: Those who wait for it.
        env: The engine's environment.
        log: Where the engine's lines and the supervisor's own go.
    """

    def __init__(
        self,
        config: EngineConfig,
        limits: SupervisorLimits,
        in_flight: InFlightRequests,
        *,
        env: dict[str, str],
        log: Logger,
    ) -> None:
        self.config = config
        self.limits = limits
        self.telemetry = EngineTelemetry()
        self.in_flight = in_flight
        self.version = 0
        self.restarts = 0
        self.ready: Ready | None = None
        self._state: EngineState = "stopped"
        self._env = env
        self._log = log
        self._process: EngineProcess | None = None
        self._deaths = 0
        self._since = 0.0
        self._silent = 0.0
        self._held: Heartbeat | None = None
        self._failed_at = 0.0
        self._error: str | None = None
        self._why: str | None = None
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._scope: anyio.CancelScope | None = None
        self._ended = False

    # --- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep an engine running whenever one is wanted, until cancelled by `stop`."""
        try:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._lasting, "The telemetry", self._tick)
                    await self._lasting("The supervision of the engine", self._supervise)
        finally:
            self._ended = True
            self._set_state("stopped")
            self._fail_all("The server is stopping.", waiting=True)

    async def _lasting(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do a work to its end; log a failure, and begin the work again after a pause."""
        pause = _SHORTEST_BACKOFF_SECONDS
        while True:
            began = anyio.current_time()
            try:
                await work()
                return
            except Exception:
                self._log.exception("%s failed. It is restarted.", what)
            if anyio.current_time() - began > _LONGEST_BACKOFF_SECONDS:
                pause = _SHORTEST_BACKOFF_SECONDS
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_BACKOFF_SECONDS)

    async def _supervise(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                await self._one_life()
                await self._bury()
        except Exception as error:
            self.ready = None
            self._error = f"The server failed to supervise the engine: {error!r}."
            self._set_state("restarting")
            self._fail_all(f"{self._error} Send the request again.", waiting=True)
            raise

    def stop(self) -> None:
        """End the engine and `run`; returns at once."""
        if self._scope is not None:
            self._scope.cancel()

    def want(self) -> None:
        """Have the engine started, if it is not running and may be."""
        self._wanted.set()

    async def _one_life(self) -> None:
        """Start an engine and stay with it to its end; `_why` says how that came."""
        self._set_state("restarting" if self.restarts else "starting")
        self._why, self._silent, self._held = None, 0.0, None
        try:
            async with EngineProcess.running(
                self.config, env=self._env, log=self._log
            ) as self._process:
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        self._lasting, "Reading the engine's log", self._process.log_lines
                    )
                    group.start_soon(self._read, self._process)
                    group.start_soon(self._watch, self._process)
                    code = await self._process.wait()
                    # What it sent just before its end is still on its way.
                    await anyio.sleep(0.05)
                    group.cancel_scope.cancel()
                lines = list(self._process.last_lines)
                self._why = self._why or _explain(code, lines if self.ready is None else [])
        except OSError as error:
            self._why = f"it could not be started: {error}"
        except Exception as error:
            # Whatever it is, the engine is gone by now and its requests must hear of it.
            self._log.exception("Attending to the engine failed.")
            self._why = f"the server failed to attend to it: {error!r}"
        finally:
            self._process = None

    async def _read(self, process: EngineProcess) -> None:
        while True:
            try:
                self._dispatch(await process.frame())
            except msgspec.DecodeError as error:
                self._give_up(process, f"it sent something that is no message: {error}")
                return
            # Frames that are there already must not keep the rest of the server waiting.
            await anyio.lowlevel.checkpoint()

    async def _watch(self, process: EngineProcess) -> None:
        # Counts its own wake-ups and not the clock: after the machine slept, or this process was
        # held up, the engine gets its time all the same.
        step = min(1.0, self.limits.heartbeat / 4)
        while True:
            await anyio.sleep(step)
            self._silent += step
            limit = self.limits.heartbeat if self.ready else self.limits.start
            if self._silent >= limit:
                self._give_up(process, f"it gave no sign of life for {limit:g} seconds")
                return

    def _give_up(self, process: EngineProcess, why: str) -> None:
        self._why = why
        process.kill()

    async def _bury(self) -> None:
        """Tell everyone in flight, and decide on how to go on."""
        why = self._why or "it ended"
        self._log.error("The engine process ended: %s.", why)
        self._error = f"The engine process ended: {why}."
        lived = self.ready is not None
        self.ready = None
        self.in_flight.engine_ended(self.telemetry.stats)
        self.telemetry.engine_ended()
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS or (not lived and self._deaths > 1):
            self._failed_at = time.monotonic()
            self._wanted = asyncio.Event()
            self._set_state("failed")
            self._fail_all(self._error, waiting=True)
            return
        self._set_state("restarting")
        self._fail_all(f"{self._error} It is being restarted: send the request again.")
        self.restarts += 1
        ENGINE_RESTARTS.inc()
        if self._deaths > 1:
            await anyio.sleep(min(_LONGEST_BACKOFF_SECONDS, 0.25 * 2**self._deaths))

    async def _tick(self) -> None:
        """Once a second: a point of history, and a word to clients that wait for long."""
        while True:
            self.telemetry.sample(len(self.in_flight.requests))
            self.in_flight.keep_alive(self.limits.keep_alive)
            await anyio.sleep(1.0)

    # --- what the engine says -------------------------------------------------------------------

    def _dispatch(self, frame: Frame) -> None:
        self._silent, held = 0.0, None
        for event in frame.events:
            if isinstance(event, Ready):
                self._started(event)
            elif isinstance(event, Heartbeat):
                held = event
                self._judge(event)
            else:
                self._take(event)
        self._held = held

    def _take(self, event: Event) -> None:
        """Take in what is for a request or the statistics; a failure takes nothing else along."""
        try:
            if isinstance(event, Stats):
                if self.telemetry.take(event):
                    self.notify()
                return
            if isinstance(event, Done):
                self._deaths = 0
            lost = self.in_flight.take(event)
        except Exception:
            self._log.exception("The server failed on a %s of the engine.", type(event).__name__)
            lost = self.in_flight.give_up(event)
        if lost is not None:
            self.send(Cancel(lost))

    def _judge(self, working: Heartbeat) -> None:
        limit = self.limits.step * _PATIENCE.get(working.work, 1.0)
        if working.seconds >= limit and self._process is not None:
            self._give_up(self._process, f"its {working.work} took over {limit:g} seconds")

    def _started(self, ready: Ready) -> None:
        assert self._process is not None
        self._process.connected()
        self.ready = ready
        self._since = time.monotonic()
        self._set_state("running")
        self._log.info("The engine runs as process %d on %s.", ready.pid, ready.device)

    def send(self, command: Command) -> None:
        """Send the engine a command, if there is one; never waits."""
        if self._process is not None and self.ready is not None:
            self._process.send(command)

    async def running(self, stream: RequestStream) -> None:
        """Wait for the engine, starting it where needed, unless the request ends before.

        Raises:
            ApiError: The request has ended.
            Unavailable: The engine cannot be started.
        """
        if self._state == "failed" and not self._rested:
            raise Unavailable(
                f"{self._error} It ended several times in a row; it is tried again in "
                f"{_FAILED_PAUSE_SECONDS:g} seconds. The server's log says more.",
                headers={"Retry-After": f"{_FAILED_PAUSE_SECONDS:.0f}"},
            )
        self.want()
        while self._state != "running":
            if stream.error is not None:
                raise stream.error
            if self._ended:
                raise Unavailable("The server is stopping.")
            await self._changed.wait()

    def _fail_all(self, message: str, *, waiting: bool = False) -> None:
        self.in_flight.fail(message, waiting=waiting)
        self.notify()

    # --- what there is to see -------------------------------------------------------------------

    @property
    def state(self) -> EngineState:
        """What is so now, whatever was heard last."""
        if self._state != "running":
            return self._state
        if self._process is None or self._process.has_ended:
            return "restarting"
        return "unresponsive" if self._silent >= self.limits.heartbeat / 2 else "running"

    @property
    def status(self) -> EngineStatus:
        """The engine process, in words for the status page."""
        ready = self.ready
        return EngineStatus(
            state=self.state,
            pid=ready.pid if ready else None,
            restarts=self.restarts,
            uptime=round(time.monotonic() - self._since, 1) if ready else 0.0,
            device=ready.device if ready else None,
            versions=ready.versions if ready else {},
            error=self._error,
            silent=round(self._silent, 1) if ready else 0.0,
            held=round(self._held.seconds, 1) if self._held else 0.0,
        )

    @property
    def failure(self) -> ApiError | None:
        """Why no request can be served now, if none can."""
        if self._ended:
            return Unavailable("The server is stopping.")
        match self.state:
            case "failed":
                return Unavailable(self._error or "")
            case "unresponsive":
                return Unavailable(
                    f"The engine has given no sign of life for {self._silent:g} seconds. It is "
                    f"restarted after {self.limits.heartbeat:g} "
                    "(MlxNotebookApp.engine_timeout_seconds)."
                )
        return None

    def try_again(self) -> None:
        """Start an engine that had failed, if that was long enough ago."""
        if self._state == "failed" and self._rested:
            self.want()

    @property
    def _rested(self) -> bool:
        return time.monotonic() - self._failed_at >= _FAILED_PAUSE_SECONDS

    async def change(self, version: int) -> int:
        """Wait until something differs from `version` and return the new version."""
        while self.version == version:
            await self._changed.wait()
        return self.version

    def _set_state(self, state: EngineState) -> None:
        self._state = state
        self.notify()

    def notify(self) -> None:
        """Tell those who wait for a change that there is one."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


def _explain(code: int, last_lines: list[str]) -> str:
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    said = f", after saying {last_lines[-1][:300]!r}" if last_lines else ""
    return how + said
