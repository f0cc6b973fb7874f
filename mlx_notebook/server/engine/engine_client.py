"""What handlers ask of the engine: requests, orders about models, and stopping them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from mlx_notebook.protocol import (
    Cancel,
    Embed,
    Embedded,
    Event,
    Generate,
    Load,
    Loaded,
    ModelOptions,
    Pin,
    Pinned,
    Tokenize,
    Tokenized,
    Touch,
    Unload,
    Unloaded,
)
from mlx_notebook.server.engine.in_flight_requests import MOST_KILLS
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.errors import ApiError, QueueFull, RequestCancelled, Unavailable
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceRecorder, TraceStore

T = TypeVar("T", bound=Event)


class EngineClient:
    """Carries requests to the engine, which is started when one comes.

    Args:
        supervisor: Owns the engine's process.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.traces = TraceStore()
        self._supervisor = supervisor
        self._flights = supervisor.in_flight

    @asynccontextmanager
    async def generate(
        self, command: Generate, origin: RequestOrigin
    ) -> AsyncIterator[RequestStream]:
        """Run a request; it is cancelled when the block is left before its end.

        Its trace and its figures are recorded here, whatever endpoint it came by.

        Raises:
            QueueFull: As many requests wait as may.
            Unavailable: The engine cannot be started, or the model is not to be tried again.
        """
        rows = sum(stream.rows for stream in self._flights.streams)
        self._require_place(rows, command.n)
        command = msgspec.structs.replace(command, trace=self.traces.limit > 0)
        recorder = self.traces.recorder(command, origin)
        async with self._in_flight(command, origin.owner, command.n, recorder) as stream:
            yield stream

    async def tokenize(self, command: Tokenize, owner: str) -> Tokenized:
        """Return what a prompt becomes.

        Raises:
            ApiError: The model cannot be loaded, its template refuses the messages, or as many
                such requests wait as may.
        """
        return await self._answer(command, owner, Tokenized)

    async def embed(self, command: Embed, owner: str) -> Embedded:
        """Return the vectors of texts.

        Raises:
            ApiError: The model cannot be loaded, gives no embeddings, an input is too long, or as
                many such requests wait as may.
        """
        return await self._answer(command, owner, Embedded)

    async def load(
        self,
        model: str,
        path: str,
        options: ModelOptions,
        owner: str,
        pin: bool | None = None,
    ) -> Loaded:
        """Make a model resident; also allows one again that was refused.

        Raises:
            ApiError: It could not be loaded, or does not fit into memory.
        """
        return await self._answer(self._load(model, path, options, pin), owner, Loaded)

    @asynccontextmanager
    async def loading(
        self,
        model: str,
        path: str,
        options: ModelOptions,
        owner: str,
        pin: bool | None = None,
    ) -> AsyncIterator[RequestStream]:
        """Make a model resident; the events end with `Loaded`. Left before, it is broken off.

        Raises:
            ApiError: It could not be loaded.
        """
        command = self._load(model, path, options, pin)
        async with self._in_flight(command, owner, 0) as stream:
            yield stream

    def _load(self, model: str, path: str, options: ModelOptions, pin: bool | None) -> Load:
        self._flights.forgive(model)
        return Load(id=_new_id("load"), model=model, path=path, options=options, pin=pin)

    async def pin(self, model: str, pinned: bool) -> Pinned:
        """Keep a resident model in memory, or no longer.

        Raises:
            ApiError: It is not resident.
        """
        command = Pin(id=_new_id("pin"), model=model, pinned=pinned)
        return await self._answer(command, OWNER, Pinned)

    def keep(self, model: str) -> None:
        """Count a model as used now, if it is in memory: it is not unloaded as idle."""
        self._supervisor.send(Touch(model))

    async def unload(self, model: str) -> int:
        """Give a model's memory back and return its bytes, 0 where it was not resident.

        Raises:
            ApiError: It is in use.
        """
        if self._supervisor.ready is None:
            return 0
        command = Unload(id=_new_id("unload"), model=model)
        return (await self._answer(command, OWNER, Unloaded)).freed

    async def _answer(
        self, command: Tokenize | Embed | Load | Unload | Pin, owner: str, kind: type[T]
    ) -> T:
        """Return the one event that answers a command; an order goes on when nobody waits."""
        if isinstance(command, Tokenize | Embed):
            # They take no place in the batch, and are bounded alike, by themselves.
            self._require_place(self._flights.without_rows, 1)
        ordered = isinstance(command, Load)
        async with self._in_flight(command, owner, 0, goes_on=ordered) as stream:
            async for events in stream.batches():
                for event in events:
                    if isinstance(event, kind):
                        return event
        raise RuntimeError(f"the engine did not answer with {kind.__name__}")

    @property
    def wanted(self) -> list[str]:
        """Models that requests and orders in flight need in memory, each once."""
        needed = (
            stream.model
            for stream in self._flights.streams
            if stream.needs_model and not stream.ended
        )
        return list(dict.fromkeys(needed))

    def cancel(self, id: str, owner: str | None = None) -> bool:
        """Stop a request with all its parts; return whether there was one.

        Args:
            id: The request's id.
            owner: Whose request it must be; `None` stops anyone's.
        """
        found = [
            stream
            for stream in self._flights.streams
            if (stream.id == id or stream.id.startswith(f"{id}.")) and not stream.ended
            if owner in (None, stream.owner)
        ]
        self._stop(found, "The request was stopped through mlx/cancel.")
        return bool(found)

    def cancel_load(self, model: str, owner: str | None = None) -> bool:
        """End a user's orders and requests that wait for a model to be loaded.

        The load itself ends too, unless somebody else waits for it.

        Args:
            model: The model's name.
            owner: Whose orders and requests; `None` ends everyone's.

        Returns:
            Whether there was something to end.
        """
        stats = self._supervisor.telemetry.stats
        is_loading = stats is not None and model in stats.loading
        is_resident = stats is not None and any(model == each.model for each in stats.resident)
        needing = [
            stream
            for stream in self._flights.streams
            if stream.model == model and stream.needs_model and not stream.ended
        ]
        waiting = [
            stream
            for stream in needing
            if owner in (None, stream.owner)
            if stream.waits_for_model
            or (stream.waits_for_model is None and (is_loading or not is_resident))
        ]
        message = f"Loading the model {model!r} was cancelled. Send the request again to load it."
        self._stop(waiting, message, param="model")
        if len(waiting) < len(needing):
            return bool(waiting)
        # A load goes on when its request ends, for whoever asks next.
        if not is_resident:
            self._supervisor.send(Unload(id=_new_id("unload"), model=model))
        return bool(waiting) or is_loading

    def _stop(self, streams: list[RequestStream], message: str, param: str | None = None) -> None:
        for stream in streams:
            if stream.sent:
                self._supervisor.send(Cancel(stream.id))
            stream.fail(RequestCancelled(message, param=param))
        if streams:
            self._supervisor.notify()

    def _require_place(self, taken: int, wanted: int) -> None:
        """Refuse a request where as many are running or waiting as may.

        Raises:
            QueueFull: They are.
        """
        supervisor = self._supervisor
        if taken + wanted > supervisor.config.max_batch + supervisor.limits.queue:
            raise QueueFull(
                f"{taken} requests are running or waiting, which is all that this server takes at "
                "once: try again in a moment.",
                headers={"Retry-After": "2"},
            )

    def _require_allowed(self, model: str) -> None:
        """Refuse a model with which the engine ended several times in a row.

        Raises:
            Unavailable: It did.
        """
        if self._flights.is_refused(model):
            raise Unavailable(
                f"The engine ended {MOST_KILLS} times in a row while it loaded or ran the model "
                f"{model!r}, so the model is not tried again. `%mlx load {model}` (POST "
                "mlx/models/load) allows it again. A smaller model or a shorter context may help.",
                param="model",
                code="model_refused",
                headers={"x-should-retry": "false"},
            )

    @asynccontextmanager
    async def _in_flight(
        self,
        command: Generate | Tokenize | Embed | Load | Unload | Pin,
        owner: str,
        rows: int,
        recorder: TraceRecorder | None = None,
        *,
        goes_on: bool = False,
    ) -> AsyncIterator[RequestStream]:
        needs_model = not isinstance(command, Unload | Pin)
        if needs_model:
            self._require_allowed(command.model)
        stream = RequestStream(
            command.id,
            command.model,
            rows,
            owner,
            recorder,
            hides_reasoning=isinstance(command, Generate) and not command.include_reasoning,
            needs_model=needs_model,
        )
        self._flights.enter(stream)
        self._supervisor.notify()
        try:
            await self._supervisor.running(stream)
            stream.sent = True
            self._supervisor.send(command)
            yield stream
        except ApiError as error:
            stream.error = stream.error or error
            raise
        finally:
            self._flights.leave(stream)
            if stream.sent and not stream.ended and not goes_on:
                self._supervisor.send(Cancel(command.id))
            self._supervisor.notify()
            if recorder is not None:
                recorder.end(stream.error)


def _new_id(order: str) -> str:
    """Return the id of an order about a model."""
    return f"{order}-{uuid.uuid4().hex}"
