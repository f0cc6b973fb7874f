"""httpx clients for the official OpenAI clients: they ask the run that is on before the server.

Imported late, since `openai` is: see `clients`.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx2
import openai

from mlx_notebook.notebook.recording import runs
from mlx_notebook.notebook.recording.recorded_events import unpack
from mlx_notebook.notebook.recording.recording_file import Exchange
from mlx_notebook.notebook.recording.runs import Entry, Player, Recorder
from mlx_notebook.notebook.server import presence
from mlx_notebook.notebook.server.server import Server


class RunClient(openai.DefaultHttpxClient):
    """Sends to a server what no run answers, and lets a recorder look on."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(**options)
        self._server = server

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, or answer it from a recording."""
        run, path = runs.current(), _path(self._server, request)
        if run is None or path is None:
            return self._live(request, stream=stream, **options)
        if isinstance(run, Player):
            exchange = run.take(self._server, request.method, path, request.read())
            if exchange is not None:
                return _replayed(exchange, run, request, stream=stream)
            return self._live(request, stream=stream, **options)
        entry = _opened(run, self._server, request, path, request.read())
        response = self._live(request, stream=stream, **options)
        if stream:
            response.stream = _Recorded(response.stream, response, entry)
        else:
            entry.close(response.status_code, _type(response), response.content)
        return response

    def _live(self, request: Any, **options: Any) -> Any:
        _present(self._server, request)
        return super().send(request, **options)


class AsyncRunClient(openai.DefaultAsyncHttpxClient):
    """The same for asynchronous clients."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(**options)
        self._server = server

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, or answer it from a recording."""
        run, path = runs.current(), _path(self._server, request)
        if run is None or path is None:
            return await self._live(request, stream=stream, **options)
        body = await request.aread()
        if isinstance(run, Player):
            exchange = run.take(self._server, request.method, path, body)
            if exchange is not None:
                return await _replayed_async(exchange, run, request, stream=stream)
            return await self._live(request, stream=stream, **options)
        entry = _opened(run, self._server, request, path, body)
        response = await self._live(request, stream=stream, **options)
        if stream:
            response.stream = _RecordedAsync(response.stream, response, entry)
        else:
            entry.close(response.status_code, _type(response), response.content)
        return response

    async def _live(self, request: Any, **options: Any) -> Any:
        _present(self._server, request)
        return await super().send(request, **options)


class _Recorded(httpx2.SyncByteStream):
    """A stream that is written down as it is read."""

    def __init__(self, stream: Any, response: httpx2.Response, entry: Entry) -> None:
        self._stream, self._response, self._entry = stream, response, entry
        self._exhausted = self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._entry.add(chunk)
            yield chunk
        self._exhausted = True

    def close(self) -> None:
        self._stream.close()
        if not self._closed:
            self._closed = True
            _close(self._entry, self._response, exhausted=self._exhausted)


class _RecordedAsync(httpx2.AsyncByteStream):
    """The same, read asynchronously."""

    def __init__(self, stream: Any, response: httpx2.Response, entry: Entry) -> None:
        self._stream, self._response, self._entry = stream, response, entry
        self._exhausted = self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._entry.add(chunk)
            yield chunk
        self._exhausted = True

    async def aclose(self) -> None:
        await self._stream.aclose()
        if not self._closed:
            self._closed = True
            _close(self._entry, self._response, exhausted=self._exhausted)


class _Played(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A recorded stream, at the pace at which it came."""

    def __init__(self, exchange: Exchange, run: Player, request: httpx2.Request) -> None:
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
            raise httpx2.ReadError("the recorded answer was left here", request=self._request)


def _replayed(exchange: Exchange, run: Player, request: Any, *, stream: bool) -> httpx2.Response:
    if exchange.events is None:
        time.sleep(run.pause(exchange.seconds))
    response = _response(exchange, run, request)
    if not stream:
        response.read()
    return response


async def _replayed_async(
    exchange: Exchange, run: Player, request: Any, *, stream: bool
) -> httpx2.Response:
    if exchange.events is None:
        await anyio.sleep(run.pause(exchange.seconds))
    response = _response(exchange, run, request)
    if not stream:
        await response.aread()
    return response


def _response(exchange: Exchange, run: Player, request: httpx2.Request) -> httpx2.Response:
    headers = {"content-type": exchange.type}
    if exchange.events is None:
        return httpx2.Response(
            exchange.status, headers=headers, content=runs.content(exchange), request=request
        )
    return httpx2.Response(
        exchange.status, headers=headers, stream=_Played(exchange, run, request), request=request
    )


def _opened(run: Recorder, server: Server, request: Any, path: str, body: bytes) -> Entry:
    # What passes is written down as it comes, so it must not come compressed.
    request.headers["accept-encoding"] = "identity"
    return run.open(server, request.method, path, body)


def _close(entry: Entry, response: httpx2.Response, *, exhausted: bool) -> None:
    entry.close_stream(response.status_code, _type(response), exhausted=exhausted)


def _type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "application/json"))


def _present(server: Server, request: Any) -> None:
    """Name this kernel in a request to its server, which then keeps the model for it."""
    if _path(server, request) is not None:
        request.headers.update(presence.HEADERS)
        presence.used(server)


def _path(server: Server, request: httpx2.Request) -> str | None:
    """Path below the server's base URL; `None` for another server's address."""
    url = str(request.url)
    return url.removeprefix(server.url) if url.startswith(server.url) else None
