"""Send requests and model commands to the engine, and cancel them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from mlx_notebook.protocol import (
    URGENT_ROWS,
    Cancel,
    Embed,
    Embedded,
    Event,
    Generate,
    Load,
    Loaded,
    Pin,
    Pinned,
    Release,
    Rerank,
    Reranked,
    Reserve,
    Reserved,
    Speak,
    Tokenize,
    Tokenized,
    Touch,
    Transcribe,
    Unload,
    Unloaded,
)
from mlx_notebook.server.engine.admission import Admission
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.errors import ApiError, RequestCancelled
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.telemetry.audio_traces import AudioRecorder
from mlx_notebook.server.telemetry.request_traces import Recorder, RequestOrigin, TraceStore

T = TypeVar("T", bound=Event)


class EngineClient:
    """Send requests to the engine, which is started when the first one comes.

    Parameters
    ----------
    supervisor
        Owner of the engine process.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.traces = TraceStore()
        self.usage = self.traces.usage
        self._supervisor = supervisor
        self._flights = supervisor.in_flight
        self._admission = Admission(supervisor)

    @asynccontextmanager
    async def generate(
        self, command: Generate, origin: RequestOrigin
    ) -> AsyncIterator[RequestStream]:
        """Run a generation request, and cancel it if the block ends first.

        Its trace and its metrics are recorded here for all endpoints.

        Raises
        ------
        QueueFull
            If too many requests are running or waiting.
        Unavailable
            If the engine cannot be started, or has crashed too often with this model.
        """
        if not command.patient:  # a patient one takes no place from others
            more = URGENT_ROWS if command.urgent else 0
            self._admission.check_rows(command, origin.owner, command.n, more)
        traced = self.traces.limit > 0 and not command.urgent
        command = msgspec.structs.replace(command, trace=traced)
        self._admission.check_model(command.model)
        recorder = self.traces.recorder(command, origin)
        async with self._in_flight(command, origin.owner, command.n, recorder) as stream:
            yield stream

    @asynccontextmanager
    async def run_audio(
        self, command: Transcribe | Speak, origin: RequestOrigin
    ) -> AsyncIterator[RequestStream]:
        """Turn speech into text or text into speech, and cancel that if the block ends first.

        Its trace and its metrics are recorded.

        Raises
        ------
        QueueFull, Unavailable
            As for `generate`.
        """
        self._admission.check_rows(command, origin.owner, 1)
        self._admission.check_model(command.model)
        recorder = AudioRecorder(command, origin, self.traces)
        self.traces.begin(command.id, origin.owner, recorder)
        async with self._in_flight(command, origin.owner, 1, recorder) as stream:
            yield stream

    async def tokenize(self, command: Tokenize, owner: str) -> Tokenized:
        """Return the rendered text and the tokens of a prompt.

        Raises
        ------
        ApiError
            If the model cannot be loaded, its template refuses the messages, or too many such
            requests are waiting.
        """
        return await self._answer(command, owner, Tokenized)

    async def embed(self, command: Embed, owner: str) -> Embedded:
        """Return the embeddings of texts.

        Raises
        ------
        ApiError
            If the model cannot be loaded or makes no embeddings, an input is too long, or too many
            such requests are waiting.
        """
        return await self._answer(command, owner, Embedded)

    async def rerank(self, command: Rerank, owner: str) -> Reranked:
        """Return the scores of documents.

        Raises
        ------
        ApiError
            If the model cannot be loaded or does not rank documents, a text is too long, or too
            many such requests are waiting.
        """
        return await self._answer(command, owner, Reranked)

    async def load(self, command: Load, owner: str) -> Loaded:
        """Load a model into memory. Also allow a model again that crashed the engine.

        Raises
        ------
        ApiError
            If it cannot be loaded, or does not fit into memory.
        """
        self._flights.forgive(command.model)
        return await self._answer(command, owner, Loaded)

    @asynccontextmanager
    async def loading(self, command: Load, owner: str) -> AsyncIterator[RequestStream]:
        """Load a model into memory, and cancel that if the block ends first.

        The last event is `Loaded`.

        Raises
        ------
        ApiError
            If it cannot be loaded.
        """
        self._flights.forgive(command.model)
        async with self._in_flight(command, owner, 0) as stream:
            yield stream

    async def pin(self, model: str, pinned: bool) -> Pinned:
        """Pin or unpin a resident model. A pinned model is never evicted.

        Raises
        ------
        ApiError
            If it is not resident.
        """
        command = Pin(id=_new_id("pin"), model=model, pinned=pinned)
        return await self._answer(command, OWNER, Pinned)

    async def reserve(self, command: Reserve, owner: str) -> Reserved:
        """Keep memory free for a job, also after a restart of the engine, until `release`.

        Raises
        ------
        ApiError
            If there is not so much memory.
        """
        reserved = await self._answer(command, owner, Reserved)
        self._flights.reservations[command.holder] = command
        return reserved

    def release(self, command: Release) -> None:
        """Give the memory of a job back, if it has any."""
        self._flights.reservations.pop(command.holder, None)
        self._supervisor.send(command)

    def keep(self, model: str) -> None:
        """Count a resident model as used now, so that it is not unloaded as idle."""
        self._supervisor.send(Touch(model))

    async def unload(self, model: str) -> int:
        """Unload a model and return the bytes that it freed, 0 if it was not resident.

        Raises
        ------
        ApiError
            If it is in use.
        """
        if self._supervisor.ready is None:
            return 0
        command = Unload(id=_new_id("unload"), model=model)
        return (await self._answer(command, OWNER, Unloaded)).freed

    async def _answer(
        self,
        command: Tokenize | Embed | Rerank | Load | Unload | Pin | Reserve,
        owner: str,
        kind: type[T],
    ) -> T:
        """Return the one event that answers a command. A load goes on when its caller is gone."""
        if isinstance(command, Tokenize | Embed | Rerank) and not _is_patient(command):
            self._admission.check_without_rows(command, owner)
        is_load = isinstance(command, Load)
        async with self._in_flight(command, owner, 0, detached=is_load) as stream:
            async for events in stream.batches():
                for event in events:
                    if isinstance(event, kind):
                        return event
        raise RuntimeError(f"the engine did not answer with {kind.__name__}")

    @property
    def wanted(self) -> list[str]:
        """Names of the models that requests and commands in flight need in memory."""
        needed = (
            stream.model
            for stream in self._flights.streams
            if stream.needs_model and not stream.ended
        )
        return list(dict.fromkeys(needed))

    def cancel(self, id: str, owner: str | None = None) -> bool:
        """Cancel a request with all its parts.

        Parameters
        ----------
        id
            Id of the request.
        owner
            User who must have sent it; None for any user.

        Returns
        -------
        bool
            Whether there was such a request.
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
        """Cancel a user's commands and requests that wait for a model to be loaded.

        The load itself is cancelled too, unless another user waits for it.

        Parameters
        ----------
        model
            Name of the model.
        owner
            User whose commands and requests are cancelled; None for all users.

        Returns
        -------
        bool
            Whether there was something to cancel.
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
        # The engine goes on loading when a request ends, so tell it to stop.
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

    @asynccontextmanager
    async def _in_flight(
        self,
        command: (
            Generate
            | Tokenize
            | Embed
            | Rerank
            | Transcribe
            | Speak
            | Load
            | Unload
            | Pin
            | Reserve
        ),
        owner: str,
        rows: int,
        recorder: Recorder | None = None,
        *,
        detached: bool = False,
    ) -> AsyncIterator[RequestStream]:
        needs_model = not isinstance(command, Unload | Pin | Reserve)
        if needs_model:
            self._admission.check_model(command.model)
        stream = RequestStream(
            command.id,
            command.model,
            rows,
            owner,
            recorder,
            hides_reasoning=isinstance(command, Generate) and not command.include_reasoning,
            needs_model=needs_model,
            urgent=isinstance(command, Generate) and command.urgent,
            patient=_is_patient(command),
        )
        self._flights.add(stream)
        self._supervisor.notify()
        try:
            await self._supervisor.wait_until_running(stream)
            stream.sent = True
            self._supervisor.send(command)
            yield stream
        except ApiError as error:
            stream.error = stream.error or error
            raise
        finally:
            self._flights.remove(stream)
            if stream.sent and not stream.ended and not detached:
                self._supervisor.send(Cancel(command.id))
            self._supervisor.notify()
            if recorder is not None:
                recorder.end(stream.error)


def _is_patient(command: object) -> bool:
    """Whether nobody waits for a command."""
    return isinstance(command, Generate | Embed) and command.patient


def _new_id(command: str) -> str:
    """Return a new id for a model command."""
    return f"{command}-{uuid.uuid4().hex}"
