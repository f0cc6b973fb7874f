"""Starts the engine when it is needed, watches it, restarts it; carries requests to it.

A request is in one place only: `_streams`, from its admission to its handler's leaving.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from logging import Logger
from typing import TypeVar

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Struct

from mlx_notebook.messages import (
    Cancel,
    Command,
    Done,
    Embed,
    Embedded,
    EngineConfig,
    Event,
    Frame,
    Generate,
    Load,
    Loaded,
    ModelOptions,
    Pin,
    Pinned,
    Prefill,
    Ready,
    Stats,
    Tokenize,
    Tokenized,
    Unload,
    Unloaded,
)
from mlx_notebook.server.engine_process import EngineProcess
from mlx_notebook.server.errors import ApiError, QueueFull, RequestCancelled, Unavailable
from mlx_notebook.server.history import Telemetry
from mlx_notebook.server.metrics import ENGINE_RESTARTS
from mlx_notebook.server.recording import Origin, Recorder, Traces
from mlx_notebook.server.streams import RequestStream
from mlx_notebook.server.wire.status import EngineState, EngineStatus

T = TypeVar("T", bound=Event)

# What the ids of orders to load begin with.
_LOAD = "load-"
# A model that ended the engine so often, with no answer in between, is not tried again.
_MOST_KILLS = 3
# An engine that ends so often, with no answer in between, is only restarted on request.
_MOST_DEATHS = 4
_FAILED_PAUSE_SECONDS = 10.0
_LONGEST_BACKOFF_SECONDS = 8.0


class Limits(Struct, frozen=True):
    """Bounds of the supervisor: seconds, and `queue` requests waiting beyond the batch."""

    queue: int = 64
    heartbeat: float = 30.0
    start: float = 180.0
    keep_alive: float = 10.0


class Supervisor:
    """Owns the engine process and everything that is in flight to it.

    Args:
        config: What the engine is told at its start.
        limits: How long to wait, and for how many.
        env: The engine's environment.
        log: Where the engine's lines and the supervisor's own go.
        used: Told of each model that takes a request or is loaded.
    """

    def __init__(
        self,
        config: EngineConfig,
        limits: Limits,
        *,
        env: dict[str, str],
        log: Logger,
        used: Callable[[str], None] = lambda model: None,
    ) -> None:
        self.config = config
        self.limits = limits
        self.telemetry = Telemetry()
        self.traces = Traces()
        self.version = 0
        self.restarts = 0
        self.ready: Ready | None = None
        self._used = used
        self._state: EngineState = "stopped"
        self._env = env
        self._log = log
        self._process: EngineProcess | None = None
        self._streams: dict[str, RequestStream] = {}
        self._kills: dict[str, int] = {}
        self._deaths = 0
        self._since = 0.0
        self._heard = 0
        self._failed_at = 0.0
        self._error: str | None = None
        self._why: str | None = None
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._scope: anyio.CancelScope | None = None

    # --- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep an engine running whenever one is wanted, until cancelled by `stop`."""
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as group:
                group.start_soon(self._tick)
                while True:
                    await self._wanted.wait()
                    await self._one_life()
                    await self._bury()
        self._fail_all("The server is stopping.", waiting=True)
        self._set_state("stopped")

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
        self._why = None
        try:
            async with EngineProcess.running(
                self.config, env=self._env, log=self._log
            ) as self._process:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._process.log_lines)
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
        silent = 0.0
        heard = self._heard
        while True:
            await anyio.sleep(step)
            silent = 0.0 if heard != self._heard else silent + step
            heard = self._heard
            limit = self.limits.heartbeat if self.ready else self.limits.start
            if silent >= limit:
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
        self.telemetry.engine_ended()
        sent = {stream.model for stream in self._streams.values() if stream.sent}
        for model in sent:
            self._kills[model] = self._kills.get(model, 0) + 1
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
        next_at = time.monotonic()
        while True:
            self.telemetry.sample(len(self._streams))
            for stream in self._streams.values():
                stream.keep_alive(self.limits.keep_alive)
            next_at = max(next_at + 1.0, time.monotonic())
            await anyio.sleep(next_at - time.monotonic())

    # --- what the engine says -------------------------------------------------------------------

    def _dispatch(self, frame: Frame) -> None:
        self._heard += 1
        for event in frame.events:
            if isinstance(event, Stats):
                if self.telemetry.take(event):
                    self.notify()
            elif isinstance(event, Ready):
                self._started(event)
            elif (stream := self._streams.get(event.id)) is not None:
                if isinstance(event, Prefill | Loaded):
                    self._used(stream.model)
                elif isinstance(event, Done):
                    self._kills.pop(stream.model, None)
                    self._deaths = 0
                if not stream.push(event):
                    self._send(Cancel(stream.id))

    def _started(self, ready: Ready) -> None:
        assert self._process is not None
        self._process.connected()
        self.ready = ready
        self._since = time.monotonic()
        self._set_state("running")
        self._log.info("The engine runs as process %d on %s.", ready.pid, ready.device)

    def _send(self, command: Command) -> None:
        if self._process is not None and self.ready is not None:
            self._process.send(command)

    # --- requests -------------------------------------------------------------------------------

    @asynccontextmanager
    async def generate(self, command: Generate, origin: Origin) -> AsyncIterator[RequestStream]:
        """Run a request; it is cancelled when the block is left before its end.

        Its trace and its figures are recorded here, whatever endpoint it came by.

        Raises:
            QueueFull: As many requests wait as may.
            Unavailable: The engine cannot be started, or the model is not to be tried again.
        """
        rows = sum(stream.rows for stream in self._streams.values())
        if rows + command.n > self.config.max_batch + self.limits.queue:
            raise QueueFull(
                f"{rows} requests are running or waiting, which is all that this server takes at "
                "once: try again in a moment.",
                headers={"Retry-After": "2"},
            )
        if self._kills.get(command.model, 0) >= _MOST_KILLS:
            raise Unavailable(
                f"The model {command.model!r} ended the engine {_MOST_KILLS} times in a row and "
                "is not tried again. POST mlx/models/load with its name (or %mlx load) allows it "
                "again; a smaller model or a shorter context may help.",
                param="model",
                code="model_refused",
                headers={"x-should-retry": "false"},
            )
        command = msgspec.structs.replace(command, trace=self.traces.limit > 0)
        recorder = self.traces.recorder(command, origin)
        async with self._in_flight(command, command.id, command.n, recorder) as stream:
            yield stream

    async def tokenize(self, command: Tokenize) -> Tokenized:
        """Return what a prompt becomes.

        Raises:
            ApiError: The model cannot be loaded, or its template refuses the messages.
        """
        return await self._answer(command, Tokenized)

    async def embed(self, command: Embed) -> Embedded:
        """Return the vectors of texts.

        Raises:
            ApiError: The model cannot be loaded, gives no embeddings, or an input is too long.
        """
        return await self._answer(command, Embedded)

    async def load(
        self, model: str, path: str, options: ModelOptions, pin: bool | None = None
    ) -> Loaded:
        """Make a model resident; also allows one again that was refused.

        Raises:
            ApiError: It could not be loaded, or does not fit into memory.
        """
        return await self._answer(self._load(model, path, options, pin), Loaded)

    @asynccontextmanager
    async def loading(
        self, model: str, path: str, options: ModelOptions, pin: bool | None = None
    ) -> AsyncIterator[RequestStream]:
        """Make a model resident; the events end with `Loaded`. Left before, it is broken off.

        Raises:
            ApiError: It could not be loaded.
        """
        command = self._load(model, path, options, pin)
        async with self._in_flight(command, command.id, 0) as stream:
            yield stream

    def _load(self, model: str, path: str, options: ModelOptions, pin: bool | None) -> Load:
        self._kills.pop(model, None)
        id = f"{_LOAD}{uuid.uuid4().hex}"
        return Load(id=id, model=model, path=path, options=options, pin=pin)

    async def pin(self, model: str, pinned: bool) -> Pinned:
        """Keep a resident model in memory, or no longer.

        Raises:
            ApiError: It is not resident.
        """
        command = Pin(id=f"pin-{uuid.uuid4().hex}", model=model, pinned=pinned)
        return await self._answer(command, Pinned)

    async def unload(self, model: str) -> int:
        """Give a model's memory back and return its bytes, 0 where it was not resident.

        Raises:
            ApiError: It is in use.
        """
        if self.ready is None:
            return 0
        command = Unload(id=f"unload-{uuid.uuid4().hex}", model=model)
        return (await self._answer(command, Unloaded)).freed

    async def _answer(self, command: Tokenize | Embed | Load | Unload | Pin, kind: type[T]) -> T:
        """Return the one event that answers a command; an order goes on when nobody waits."""
        ordered = isinstance(command, Load)
        async with self._in_flight(command, command.id, 0, goes_on=ordered) as stream:
            async for events in stream.batches():
                for event in events:
                    if isinstance(event, kind):
                        return event
        raise RuntimeError(f"the engine did not answer with {kind.__name__}")

    def cancel(self, id: str) -> bool:
        """Stop a request that is in flight, with all its parts; return whether there was one."""
        found = [
            stream
            for stream in self._streams.values()
            if (stream.id == id or stream.id.startswith(f"{id}.")) and not stream.ended
        ]
        for stream in found:
            if stream.sent:
                self._send(Cancel(stream.id))
            stream.fail(RequestCancelled("The request was stopped through mlx/cancel."))
        if found:
            self.notify()
        return bool(found)

    def cancel_load(self, model: str) -> bool:
        """Break off the orders to load a model; return whether there were any."""
        orders = [
            stream.id
            for stream in self._streams.values()
            if stream.model == model and stream.id.startswith(_LOAD)
        ]
        for id in orders:
            self.cancel(id)
        return bool(orders)

    @asynccontextmanager
    async def _in_flight(
        self,
        command: Generate | Tokenize | Embed | Load | Unload | Pin,
        id: str,
        rows: int,
        recorder: Recorder | None = None,
        *,
        goes_on: bool = False,
    ) -> AsyncIterator[RequestStream]:
        stream = self._streams[id] = RequestStream(id, command.model, rows, recorder)
        self.notify()
        try:
            await self._running(stream)
            stream.sent = True
            self._send(command)
            yield stream
        except ApiError as error:
            stream.error = stream.error or error
            raise
        finally:
            if recorder is not None:
                recorder.end(stream.error)
            del self._streams[id]
            if stream.sent and not stream.ended and not goes_on:
                self._send(Cancel(id))
            self.notify()

    async def _running(self, stream: RequestStream) -> None:
        """Wait for the engine, starting it where needed."""
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
            await self._changed.wait()

    def _fail_all(self, message: str, *, waiting: bool = False) -> None:
        for stream in self._streams.values():
            if stream.sent or waiting:
                stream.fail(Unavailable(message, headers={"Retry-After": "1"}))
        self.notify()

    # --- what there is to see -------------------------------------------------------------------

    @property
    def streams(self) -> list[RequestStream]:
        """All that is in flight, oldest first."""
        return list(self._streams.values())

    @property
    def status(self) -> EngineStatus:
        """The engine process, in words for the status page."""
        ready = self.ready
        return EngineStatus(
            state=self._state,
            pid=ready.pid if ready else None,
            restarts=self.restarts,
            uptime=round(time.monotonic() - self._since, 1) if ready else 0.0,
            device=ready.device if ready else None,
            versions=ready.versions if ready else {},
            error=self._error,
        )

    @property
    def failure(self) -> ApiError | None:
        """Why no request can be served now, if none can."""
        return Unavailable(self._error or "") if self._state == "failed" else None

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
