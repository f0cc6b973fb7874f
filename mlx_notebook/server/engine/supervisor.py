"""Start the engine process when it is needed, watch it, and restart it when it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from logging import Logger

import anyio
import msgspec
from msgspec import Struct

from mlx_notebook.protocol import (
    Cancel,
    Command,
    Configure,
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
from mlx_notebook.server.engine.restarts import restart_on_failure
from mlx_notebook.server.errors import ApiError, Unavailable
from mlx_notebook.server.telemetry.engine_telemetry import EngineTelemetry
from mlx_notebook.server.telemetry.metrics import ENGINE_RESTARTS
from mlx_notebook.server.wire.native.status_types import EngineState, EngineStatus

# After this many crashes without an answer in between, wait for a request before a restart.
_MAX_CRASHES = 4
_RETRY_SECONDS = 10.0
_LONGEST_BACKOFF_SECONDS = 8.0
# Factors on `step_seconds` by activity: a first step may compile, and loading depends on the disk.
_STEP_FACTORS = {"first step": 4.0, "loading": float("inf")}


class SupervisorLimits(Struct, frozen=True):
    """Limits of the supervisor.

    Attributes
    ----------
    queue
        Most sequences that may wait beyond the batch.
    heartbeat
        Seconds that the engine may send nothing.
    step
        Seconds that the engine may spend in one step.
    start
        Seconds that the engine may take to start.
    keep_alive
        Seconds without an event after which a request gets a keep-alive.
    """

    queue: int = 64
    heartbeat: float = 30.0
    step: float = 300.0
    start: float = 180.0
    keep_alive: float = 10.0


class Supervisor:
    """Own the engine process, and pass its events to the requests in flight.

    Parameters
    ----------
    config
        Configuration that the engine is started with.
    limits
        Timeouts, and the length of the queue.
    in_flight
        Requests that wait for the engine.
    env
        Environment variables of the engine process.
    log
        Logger for the engine's lines and the supervisor's own.
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
        self._crashes = 0
        self._since = 0.0
        self._silent = 0.0
        self._heartbeat: Heartbeat | None = None
        self._failed_at = 0.0
        self._error: str | None = None
        self._why: str | None = None
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._scope: anyio.CancelScope | None = None
        self._ended = False

    # --- start and end ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep an engine running from the first `request_start` until `stop`."""
        try:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        restart_on_failure, "The telemetry", self._every_second, self._log
                    )
                    await restart_on_failure(
                        "The supervision of the engine", self._supervise, self._log
                    )
        finally:
            self._ended = True
            self._set_state("stopped")
            self._fail_all("The server is stopping.", waiting=True)

    async def _supervise(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                await self._run_engine()
                await self._after_crash()
        except Exception as error:
            self.ready = None
            self._error = f"The server failed to supervise the engine: {error!r}."
            self._set_state("restarting")
            self._fail_all(f"{self._error} Send the request again.", waiting=True)
            raise

    def stop(self) -> None:
        """Stop the engine and end `run`. Return at once."""
        if self._scope is not None:
            self._scope.cancel()

    def request_start(self) -> None:
        """Ask for the engine to be started, if it is not running."""
        self._wanted.set()

    async def _run_engine(self) -> None:
        """Run one engine process to its end. `_why` then says why it ended."""
        self._set_state("restarting" if self.restarts else "starting")
        self._why, self._silent, self._heartbeat = None, 0.0, None
        try:
            async with EngineProcess.running(
                self.config, env=self._env, log=self._log
            ) as self._process:
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        restart_on_failure,
                        *("Reading the engine's log", self._process.log_lines, self._log),
                    )
                    group.start_soon(self._read, self._process, self._process.frame)
                    group.start_soon(self._read, self._process, self._process.heartbeat)
                    group.start_soon(self._watch, self._process)
                    code = await self._process.wait()
                    # Read what it sent just before its end.
                    await anyio.sleep(0.05)
                    group.cancel_scope.cancel()
                has_started = self.ready is not None
                self._why = self._why or self._process.end_reason(code, has_started=has_started)
        except OSError as error:
            self._why = f"it could not be started: {error}"
        except Exception as error:
            # The engine is gone by now, and its requests must be failed.
            self._log.exception("The server failed while the engine ran.")
            self._why = f"the server failed while it ran: {error!r}"
        finally:
            self._process = None

    async def _read(self, process: EngineProcess, next: Callable[[], Awaitable[Frame]]) -> None:
        while True:
            try:
                self._handle_frame(await next())
            except msgspec.DecodeError as error:
                self._kill(process, f"it sent an invalid message: {error}")
                return

    async def _watch(self, process: EngineProcess) -> None:
        # Count wake-ups, and not the clock: if the machine slept or this process was blocked, that
        # time does not count against the engine.
        step = min(1.0, self.limits.heartbeat / 4)
        while True:
            await anyio.sleep(step)
            self._silent += step
            limit = self.limits.heartbeat if self.ready else self.limits.start
            if self._silent >= limit:
                self._kill(process, f"it gave no sign of life for {limit:g} seconds")
                return

    def _kill(self, process: EngineProcess, why: str) -> None:
        self._why = why
        process.kill()

    async def _after_crash(self) -> None:
        """Fail the requests in flight, and decide whether to restart the engine."""
        why = self._why or "it ended"
        self._log.error("The engine process ended: %s.", why)
        self._error = f"The engine process ended: {why}."
        lived = self.ready is not None
        self.ready = None
        self.in_flight.engine_ended(self.telemetry.stats)
        self.telemetry.engine_ended()
        self._crashes += 1
        # What keeps a rank on another host from starting does not go away by itself.
        attempts = 2 if self.config.distributed is None else 1
        if self._crashes >= _MAX_CRASHES or (not lived and self._crashes >= attempts):
            self._failed_at = time.monotonic()
            self._wanted = asyncio.Event()
            self._set_state("failed")
            self._fail_all(self._error, waiting=True)
            return
        self._set_state("restarting")
        self._fail_all(f"{self._error} It is being restarted: send the request again.")
        self.restarts += 1
        ENGINE_RESTARTS.inc()
        if self._crashes > 1:
            await anyio.sleep(min(_LONGEST_BACKOFF_SECONDS, 0.25 * 2**self._crashes))

    async def _every_second(self) -> None:
        """Record telemetry and send keep-alives, once a second."""
        while True:
            self.telemetry.sample(self.in_flight.take_peak())
            self.in_flight.keep_alive(self.limits.keep_alive)
            await anyio.sleep(1.0)

    # --- events of the engine ---------------------------------------------------------------------

    def _handle_frame(self, frame: Frame) -> None:
        self._silent, held = 0.0, None
        for event in frame.events:
            if isinstance(event, Ready):
                self._handle_ready(event)
            elif isinstance(event, Heartbeat):
                held = event
                self._check_step_time(event)
            else:
                self._handle_event(event)
        self._heartbeat = held

    def _handle_event(self, event: Event) -> None:
        """Handle an event for a request or the telemetry. An error ends only that request."""
        try:
            if isinstance(event, Stats):
                if self.telemetry.update(event):
                    self.notify()
                return
            if isinstance(event, Done):
                self._crashes = 0
            lost = self.in_flight.handle(event)
        except Exception:
            self._log.exception(
                "The server failed on the event %s of the engine.", type(event).__name__
            )
            lost = self.in_flight.fail_request_of(event)
        if lost is not None:
            self.send(Cancel(lost))

    def _check_step_time(self, working: Heartbeat) -> None:
        limit = self.limits.step * _STEP_FACTORS.get(working.work, 1.0)
        if working.seconds >= limit and self._process is not None:
            self._kill(self._process, f"its {working.work} took over {limit:g} seconds")

    def _handle_ready(self, ready: Ready) -> None:
        assert self._process is not None
        self._process.connected()
        self.ready = ready
        self._since = time.monotonic()
        self.send(Configure(idle_unload_minutes=self.config.idle_unload_minutes))
        self._set_state("running")
        for reservation in self.in_flight.reservations.values():
            self.send(reservation)
        self._log.info("The engine runs as process %d on %s.", ready.pid, ready.device)

    def send(self, command: Command) -> None:
        """Send the engine a command without waiting. Drop it if no engine runs."""
        if self._process is not None and self.ready is not None:
            self._process.send(command)

    async def wait_until_running(self, stream: RequestStream) -> None:
        """Wait until the engine runs, and start it if need be.

        Raises
        ------
        ApiError
            If the request has ended while it waited.
        Unavailable
            If the engine cannot be started.
        """
        if self._state == "failed" and not self._may_retry:
            raise Unavailable(
                f"{self._error} It ended several times in a row; it is tried again in "
                f"{_RETRY_SECONDS:g} seconds. The server's log says more.",
                headers={"Retry-After": f"{_RETRY_SECONDS:.0f}"},
            )
        self.request_start()
        while self._state != "running":
            if stream.error is not None:
                raise stream.error
            if self._ended:
                raise Unavailable("The server is stopping.")
            await self._changed.wait()

    def _fail_all(self, message: str, *, waiting: bool = False) -> None:
        self.in_flight.fail(message, waiting=waiting)
        self.notify()

    # --- state ------------------------------------------------------------------------------------

    @property
    def state(self) -> EngineState:
        """State of the engine process at this moment."""
        if self._state != "running":
            return self._state
        if self._process is None or self._process.has_ended:
            return "restarting"
        return "unresponsive" if self._silent >= self.limits.heartbeat / 2 else "running"

    @property
    def status(self) -> EngineStatus:
        """Description of the engine process for `mlx/status`."""
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
            held=round(self._heartbeat.seconds, 1) if self._heartbeat else 0.0,
        )

    @property
    def failure(self) -> ApiError | None:
        """Reason why no request can be served now; None if requests can be served."""
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

    def retry_start(self) -> None:
        """Start the engine again if it failed, and long enough ago."""
        if self._state == "failed" and self._may_retry:
            self.request_start()

    @property
    def _may_retry(self) -> bool:
        return time.monotonic() - self._failed_at >= _RETRY_SECONDS

    async def wait_for_change(self, version: int) -> int:
        """Wait until the status differs from that of `version`. Return the new version."""
        while self.version == version:
            await self._changed.wait()
        return self.version

    def _set_state(self, state: EngineState) -> None:
        self._state = state
        self.notify()

    def notify(self) -> None:
        """Wake all that wait for a change of the status."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
