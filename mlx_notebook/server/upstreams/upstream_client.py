"""Run requests on one upstream, and relay its answer as the events of the engine."""

import asyncio
import base64
import binascii
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import msgspec
from msgspec import Struct

from mlx_notebook.protocol import Embedded
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError, QueueFull, RequestCancelled
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceStore
from mlx_notebook.server.upstreams.upstream_connection import UpstreamConnection
from mlx_notebook.server.upstreams.upstream_models import UpstreamModels
from mlx_notebook.server.upstreams.upstream_reader import (
    AnswerReader,
    EventLines,
    ReportedError,
    UnreadableAnswer,
)
from mlx_notebook.server.upstreams.upstream_request import Body, UpstreamGenerate, request_body
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings
from mlx_notebook.server.wire.native.trace_types import TracedUpstream

if TYPE_CHECKING:
    import httpx2

_END = b"[DONE]"
_LONGEST_ID = 200
# How long an upstream may take to end its answer after the last event.
_LAST_BYTES_SECONDS = 1.0
# Headers in which servers and gateways say how they call a request.
_ID_HEADERS = ("x-request-id", "request-id", "cf-ray")


class _Embedding(Struct):
    embedding: list[float] | str
    index: int = 0


class _EmbeddingUsage(Struct):
    prompt_tokens: int | None = None


class _Embeddings(Struct):
    data: list[_Embedding]
    usage: _EmbeddingUsage | None = None


class UpstreamClient:
    """Run the requests of one upstream.

    Parameters
    ----------
    settings
        Settings of the upstream.
    connection
        Connection to it.
    models
        Its models.
    traces
        Store for the traces of requests.
    keep_alive_seconds
        Time without an event after which a stream gets a keep-alive.
    changed
        Called when a request begins or ends.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        connection: UpstreamConnection,
        models: UpstreamModels,
        traces: TraceStore,
        keep_alive_seconds: float,
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.connection = connection
        self.models = models
        self._traces = traces
        self._keep_alive_seconds = keep_alive_seconds
        self._changed = changed
        self._embeddings = 0
        self._streams: dict[str, RequestStream] = {}
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def streams(self) -> list[RequestStream]:
        """Requests that run, oldest first."""
        return list(self._streams.values())

    @property
    def running(self) -> int:
        """Number of requests that run."""
        return len(self._streams) + self._embeddings

    @asynccontextmanager
    async def generate(
        self, command: UpstreamGenerate, origin: RequestOrigin
    ) -> AsyncIterator[RequestStream]:
        """Run a request, and close its connection if the block ends first.

        Raises
        ------
        ApiError
            If too many requests are running.
        """
        self._check_room()
        recorder = self._traces.recorder(command, origin)
        traced = recorder.upstream = TracedUpstream(
            self.connection.name, self.settings.host, command.upstream_model, command.parameters
        )
        stream = RequestStream(
            command.id,
            command.model,
            command.n,
            origin.owner,
            recorder,
            hides_reasoning=not command.include_reasoning,
            needs_model=False,
        )
        stream.sent = True
        self._streams[command.id] = stream
        self._changed()
        relay = asyncio.create_task(self._relay(command, origin, stream, traced))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        try:
            yield stream
        except ApiError as error:
            stream.error = stream.error or error
            raise
        finally:
            del self._streams[command.id]
            if not stream.ended or stream.error is not None:
                relay.cancel()
            self._changed()
            recorder.end(stream.error)

    async def embed(
        self,
        id: str,
        model: str,
        inputs: list[str | list[int]],
        parameters: Body,
        trace_context: Mapping[str, str],
    ) -> Embedded:
        """Return the embeddings of texts. See `RequestOrigin` for `trace_context`.

        Raises
        ------
        ApiError
            If the upstream cannot be reached, or refuses or fails on the request.
        """
        self._check_room()
        self._embeddings += 1
        self._changed()
        try:
            body = {"model": model, "input": inputs, "encoding_format": "float", **parameters}
            encoded = await asyncio.to_thread(msgspec.json.encode, body)
            async with self.connection.answer(
                "POST", "embeddings", encoded, trace_context
            ) as response:
                answer = await self.connection.body(response)
            vectors, tokens = await asyncio.to_thread(_vectors, answer, len(inputs))
        except UnreadableAnswer as error:
            raise self.connection.fault(str(error)) from None
        finally:
            self._embeddings -= 1
            self._changed()
        return Embedded(id, vectors, tokens)

    def cancel(self, id: str, owner: str | None) -> bool:
        """Cancel a request with all its parts. Return whether there was one of this user."""
        found = [
            stream
            for stream in self._streams.values()
            if (stream.id == id or stream.id.startswith(f"{id}.")) and not stream.ended
            if owner in (None, stream.owner)
        ]
        for stream in found:
            stream.fail(RequestCancelled("The request was stopped through mlx/cancel."))
        return bool(found)

    async def close(self) -> None:
        """Stop listing models, and close all connections."""
        self.models.close()
        for relay in self._relays:
            relay.cancel()
        await self.connection.close()

    def _check_room(self) -> None:
        if self.running >= self.settings.max_requests:
            raise QueueFull(
                f"{self.running} requests are running at the upstream {self.connection.name!r}, "
                "the most that its setting max_requests allows. Try again in a moment.",
                headers={"Retry-After": "2"},
            )

    async def _relay(
        self,
        command: UpstreamGenerate,
        origin: RequestOrigin,
        stream: RequestStream,
        traced: TracedUpstream,
    ) -> None:
        """Send a request and push the events of its answer, up to its end or error."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_alive, stream)
                try:
                    await self._answer(command, origin, stream, traced)
                except UnreadableAnswer as error:
                    stream.fail(self.connection.fault(self.connection.shown(str(error), 500)))
                except ReportedError as error:
                    stream.fail(_reported(self.connection, error))
                except ApiError as error:
                    stream.fail(error)
                group.cancel_scope.cancel()
        except Exception:
            stream.fail(ApiError("The server failed on this request. Its log says why."))
            raise

    async def _keep_alive(self, stream: RequestStream) -> None:
        while True:
            await anyio.sleep(self._keep_alive_seconds)
            stream.keep_alive(self._keep_alive_seconds)

    async def _answer(
        self,
        command: UpstreamGenerate,
        origin: RequestOrigin,
        stream: RequestStream,
        traced: TracedUpstream,
    ) -> None:
        body = await _encoded(command, self.settings)
        connection = self.connection
        reader = AnswerReader(
            command.id,
            command.n,
            with_logprobs=command.sampling.logprobs is not None,
            stops=command.sampling.stop,
        )
        context = origin.trace_context
        async with connection.answer("POST", command.route, body, context) as response:
            for header in _ID_HEADERS:
                if value := response.headers.get(header):
                    traced.request_id = connection.shown(value, _LONGEST_ID)
                    break
            chunks = self._chunks(response)
            async for data in chunks:
                if data == _END or not self._push(stream, reader, data):
                    break
            if stream.ended:
                return
            stream.push(reader.done())
            # Read up to the end of the answer, so that the next request can use the connection.
            with anyio.move_on_after(_LAST_BYTES_SECONDS):
                async for _ in chunks:
                    pass

    async def _chunks(self, response: "httpx2.Response") -> AsyncIterator[bytes]:
        """Yield the chunks of an answer: of a stream, or the only one.

        Raises
        ------
        UpstreamError, UnreadableAnswer
            If the answer breaks off, or an event is too large.
        """
        if "text/event-stream" not in response.headers.get("content-type", ""):
            yield await self.connection.body(response)
            return
        lines = EventLines()
        async for piece in self.connection.pieces(response):
            for data in lines.feed(piece):
                yield data
        for data in lines.end():
            yield data

    def _push(self, stream: RequestStream, reader: AnswerReader, data: bytes) -> bool:
        """Push the events of one chunk. Return False if the request has ended meanwhile."""
        for event in reader.read(data):
            stream.push(event)
        return not stream.ended


async def _encoded(command: UpstreamGenerate, settings: UpstreamSettings) -> bytes:
    """Return the body of a request. Large ones are written in a thread."""

    def encode() -> bytes:
        return msgspec.json.encode(request_body(command, settings))

    if getattr(command.prompt, "images", None):
        return await asyncio.to_thread(encode)
    return encode()


def _reported(connection: UpstreamConnection, error: ReportedError) -> ApiError:
    given = error.error
    status = given.get("code") if isinstance(given, dict) else None
    known = status if isinstance(status, int) and 400 <= status <= 599 else 500
    return connection.reported(given, known)


def _vectors(answer: bytes, count: int) -> tuple[list[bytes], int]:
    """Return embeddings as little-endian float32, and the number of tokens.

    Raises
    ------
    UnreadableAnswer
        If the answer is not a list of so many embeddings.
    """
    try:
        decoded = msgspec.json.decode(answer, type=_Embeddings)
        found = {each.index: _vector(each.embedding) for each in decoded.data}
    except (
        *(msgspec.DecodeError, UnicodeDecodeError, RecursionError),
        *(struct.error, binascii.Error, OverflowError),
    ) as error:
        raise UnreadableAnswer(f"sent embeddings that cannot be read: {error}") from None
    if sorted(found) != list(range(count)):
        raise UnreadableAnswer(f"sent {len(found)} embeddings for {count} inputs")
    tokens = (decoded.usage.prompt_tokens if decoded.usage else 0) or 0
    return [found[index] for index in range(count)], tokens


def _vector(given: list[float] | str) -> bytes:
    if isinstance(given, str):
        return base64.b64decode(given, validate=True)
    return struct.pack(f"<{len(given)}f", *given)
