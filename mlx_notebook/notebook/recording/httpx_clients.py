"""HTTP clients for the OpenAI clients: they record, replay or send each request.

Import this module late, because it imports `openai`: see `connection.clients`.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx2
import openai

from mlx_notebook.notebook.recording import active_run
from mlx_notebook.notebook.recording.recorded_events import unpack
from mlx_notebook.notebook.recording.recorder import PendingExchange, Recorder
from mlx_notebook.notebook.recording.recording_file import Exchange
from mlx_notebook.notebook.recording.replayer import Replayer, content
from mlx_notebook.notebook.server import presence
from mlx_notebook.notebook.server.server import Server


class RecordingClient(openai.DefaultHttpxClient):
    """Send requests to a server, or to the active recorder or replayer.

    Parameters
    ----------
    server
        The server.
    sends_again
        Whether OpenAI's client may send a request again that got no answer in time. Each time takes
        as long, and the server may still work on the first one.
    options
        Arguments of the client.
    """

    def __init__(self, server: Server, *, sends_again: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._server = server
        self._sends_again = sends_again
        self._sent_at: float | None = None

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, or answer it from a recording."""
        run, path = active_run.current(), _path(self._server, request)
        if path is None:
            return self._live(request, stream=stream, **options)
        if isinstance(run, Replayer):
            exchange = run.take(self._server, request.method, path, request.read())
            if exchange is not None:
                return _replay(exchange, run, request, stream=stream)
        if not isinstance(run, Recorder):
            return self._live(request, stream=stream, **options)
        pending = _opened(run, self._server, request, path, request.read())
        response = self._live(request, stream=stream, **options)
        if stream:
            response.stream = _RecordedStream(response.stream, response, pending)
        else:
            pending.close(response.status_code, _type(response), response.content)
        return response

    def _live(self, request: Any, **options: Any) -> Any:
        self._sent_at = _note_time(request, self._sent_at)
        _announce(self._server, request)
        try:
            return super().send(request, **options)
        except httpx2.ReadTimeout as error:
            if self._sends_again:
                raise
            # It sends a request again after any error that is not its own.
            raise openai.APITimeoutError(request=request) from error


class AsyncRecordingClient(openai.DefaultAsyncHttpxClient):
    """The asynchronous `RecordingClient`."""

    def __init__(self, server: Server, *, sends_again: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._server = server
        self._sends_again = sends_again
        self._sent_at: float | None = None

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, or answer it from a recording."""
        run, path = active_run.current(), _path(self._server, request)
        if path is None:
            return await self._live(request, stream=stream, **options)
        if isinstance(run, Replayer):
            exchange = run.take(self._server, request.method, path, await request.aread())
            if exchange is not None:
                return await _replay_async(exchange, run, request, stream=stream)
        if not isinstance(run, Recorder):
            return await self._live(request, stream=stream, **options)
        pending = _opened(run, self._server, request, path, await request.aread())
        response = await self._live(request, stream=stream, **options)
        if stream:
            response.stream = _AsyncRecordedStream(response.stream, response, pending)
        else:
            pending.close(response.status_code, _type(response), response.content)
        return response

    async def _live(self, request: Any, **options: Any) -> Any:
        self._sent_at = _note_time(request, self._sent_at)
        _announce(self._server, request)
        try:
            return await super().send(request, **options)
        except httpx2.ReadTimeout as error:
            if self._sends_again:
                raise
            raise openai.APITimeoutError(request=request) from error


class _RecordedStream(httpx2.SyncByteStream):
    """Record a stream while it is read."""

    def __init__(self, stream: Any, response: httpx2.Response, pending: PendingExchange) -> None:
        self._stream, self._response, self._pending = stream, response, pending
        self._exhausted = self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._pending.add(chunk)
            yield chunk
        self._exhausted = True

    def close(self) -> None:
        self._stream.close()
        if not self._closed:
            self._closed = True
            _close(self._pending, self._response, exhausted=self._exhausted)


class _AsyncRecordedStream(httpx2.AsyncByteStream):
    """The asynchronous `_RecordedStream`."""

    def __init__(self, stream: Any, response: httpx2.Response, pending: PendingExchange) -> None:
        self._stream, self._response, self._pending = stream, response, pending
        self._exhausted = self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._pending.add(chunk)
            yield chunk
        self._exhausted = True

    async def aclose(self) -> None:
        await self._stream.aclose()
        if not self._closed:
            self._closed = True
            _close(self._pending, self._response, exhausted=self._exhausted)


class _ReplayedStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Yield a recorded stream at its recorded pace."""

    def __init__(self, exchange: Exchange, run: Replayer, request: httpx2.Request) -> None:
        self._exchange, self._run, self._request = exchange, run, request
        self._began = time.monotonic()

    def __iter__(self) -> Iterator[bytes]:
        for wait, chunk in self._chunks():
            time.sleep(wait)
            yield chunk
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for wait, chunk in self._chunks():
            await anyio.sleep(wait)
            yield chunk
        self._end()

    def _chunks(self) -> Iterator[tuple[float, bytes]]:
        for seconds, text in unpack(self._exchange.events or []):
            due = self._began + self._run.pause(seconds)
            yield max(0.0, due - time.monotonic()), text.encode()

    def _end(self) -> None:
        if not self._exchange.complete:
            raise httpx2.ReadError("the recorded answer ends here", request=self._request)


def _replay(exchange: Exchange, run: Replayer, request: Any, *, stream: bool) -> httpx2.Response:
    if exchange.events is None:
        time.sleep(run.pause(exchange.seconds))
    response = _response(exchange, run, request)
    if not stream:
        response.read()
    return response


async def _replay_async(
    exchange: Exchange, run: Replayer, request: Any, *, stream: bool
) -> httpx2.Response:
    if exchange.events is None:
        await anyio.sleep(run.pause(exchange.seconds))
    response = _response(exchange, run, request)
    if not stream:
        await response.aread()
    return response


def _response(exchange: Exchange, run: Replayer, request: httpx2.Request) -> httpx2.Response:
    headers = {"content-type": exchange.type}
    if exchange.events is None:
        return httpx2.Response(
            exchange.status, headers=headers, content=content(exchange), request=request
        )
    stream = _ReplayedStream(exchange, run, request)
    return httpx2.Response(exchange.status, headers=headers, stream=stream, request=request)


def _opened(run: Recorder, server: Server, request: Any, path: str, body: bytes) -> PendingExchange:
    # The chunks are recorded as they come, so they must not come compressed.
    request.headers["accept-encoding"] = "identity"
    return run.open(server, request.method, path, body)


def _close(pending: PendingExchange, response: httpx2.Response, *, exhausted: bool) -> None:
    pending.close_stream(response.status_code, _type(response), exhausted=exhausted)


def _type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "application/json"))


def _announce(server: Server, request: Any) -> None:
    """Name this kernel in a request, so that the server keeps the model in memory for it."""
    if _path(server, request) is not None:
        request.headers.update(presence.HEADERS)
        server.announce()


def _note_time(request: Any, sent_at: float | None) -> float:
    """Note in a request when the first request of its client was sent: this may be a retry."""
    request.extensions["mlx_notebook_sent_at"] = sent_at = sent_at or time.monotonic()
    return sent_at


def sent_at(response: httpx2.Response) -> float | None:
    """Return when the request of a response was sent; `None` if the response is a recorded one.

    For a client of one request this includes failed attempts. In seconds of the monotonic clock.
    """
    at: float | None = response.request.extensions.get("mlx_notebook_sent_at")
    return at


def _path(server: Server, request: httpx2.Request) -> str | None:
    """Return the path below the server's base URL; `None` for an address of another server."""
    url = str(request.url)
    return url.removeprefix(server.url) if url.startswith(server.url) else None
