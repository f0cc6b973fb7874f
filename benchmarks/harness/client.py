"""A client that is light enough not to limit 32 streams.

Each request has its own `asyncio.Protocol`, which only records times and bytes while data arrives.
HTTP, SSE and JSON are parsed after the stream has ended.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The first delta with text, in any field that a server may use.
_TEXT = re.compile(rb'"(?:content|reasoning_content|reasoning|text)":\s?"[^"]')
_DONE = b"data: [DONE]"


@dataclass(frozen=True)
class Endpoint:
    """The address of a server: loopback `port`, the path of its chat route, an API key."""

    port: int
    path: str = "/v1/chat/completions"
    key: str = "none"
    host: str = "127.0.0.1"


@dataclass
class Reply:
    """The response to one request. Times are `time.perf_counter()` seconds.

    `first` is when the first text arrived (`None`: never). `ended` is when the answer was complete
    or the connection was lost. `dropped` means that the client hung up. `times` says when data
    arrived, from the first text on.
    """

    status: int
    body: bytes
    started: float
    first: float | None
    ended: float
    complete: bool
    dropped: bool = False
    times: list[float] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The decoded `data:` objects of an SSE body, or the one object of a JSON body."""
        if not self.body.startswith((b"data:", b"event:", b":")):
            try:
                return [json.loads(self.body)]
            except ValueError:
                return []
        found = []
        for line in self.body.splitlines():
            if line.startswith(b"data:") and not line.startswith(_DONE):
                found.append(json.loads(line[5:]))
        return found

    @property
    def usage(self) -> dict[str, Any]:
        """The last `usage` object of the answer, or an empty one."""
        usage: dict[str, Any] = {}
        for event in self.events:
            usage = event.get("usage") or usage
        return usage

    @property
    def text(self) -> str:
        """All text of the first choice, with reasoning."""
        parts = []
        for event in self.events:
            for choice in event.get("choices") or []:
                delta = choice.get("delta") or choice.get("message") or {}
                for name in ("reasoning_content", "reasoning", "content"):
                    parts.append(delta.get(name) or "")
        return "".join(parts)

    @property
    def error(self) -> str | None:
        """Why the request failed: the server's message, a status, or a stream that ended early."""
        for event in self.events:
            if event.get("error"):
                problem = event["error"]
                return str(
                    problem.get("message", problem) if isinstance(problem, dict) else problem
                )
        if self.status != 200:
            return f"status {self.status}"
        return None if self.complete or self.dropped else "the stream broke off"


def _unchunk(body: bytes) -> bytes:
    """Decode `Transfer-Encoding: chunked` (RFC 9112, section 7.1), even if the body is cut off."""
    parts = []
    position = 0
    while (newline := body.find(b"\r\n", position)) >= 0:
        size = int(body[position:newline].split(b";")[0] or b"0", 16)
        if size == 0:
            break
        parts.append(body[newline + 2 : newline + 2 + size])
        position = newline + 2 + size + 2
    return b"".join(parts)


class _HungUp(Exception):
    """The client hung up."""


class _Exchange(asyncio.Protocol):
    """One request on its own connection."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.data = bytearray()
        self.started = self.ended = 0.0
        self.first: float | None = None
        self.times: list[float] = []
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.get_running_loop().create_future()
        self.hang_up_after_text: float | None = None
        self.on_text: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.started = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.data += data
        if self.first is None and _TEXT.search(self.data):
            self.first = now
            if self.on_text is not None:
                self.on_text()
            if self.hang_up_after_text is not None:
                asyncio.get_running_loop().call_later(self.hang_up_after_text, self._hang_up)
        if self.first is not None:
            self.times.append(now)
        if _DONE in data or (len(data) < 20 and _DONE in self.data[-40:]):
            self._end(now)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._end(time.perf_counter())

    def _hang_up(self) -> None:
        if not self.gone.done():
            self.gone.set_exception(_HungUp())

    def _end(self, now: float) -> None:
        if not self.gone.done():
            self.ended = now
            self.gone.set_result(None)

    def reply(self, dropped: bool) -> Reply:
        head, _, body = bytes(self.data).partition(b"\r\n\r\n")
        fields = head.lower()
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
        if b"transfer-encoding: chunked" in fields:
            complete = _DONE in body or body.endswith(b"0\r\n\r\n")
            body = _unchunk(body)
        else:
            length = re.search(rb"content-length: (\d+)", fields)
            complete = len(body) == int(length[1]) if length else _DONE in body
        return Reply(
            status=status,
            body=body,
            started=self.started,
            first=self.first,
            ended=self.ended or time.perf_counter(),
            complete=complete,
            dropped=dropped,
            times=self.times,
        )


def _request(endpoint: Endpoint, payload: dict[str, Any]) -> bytes:
    body = json.dumps(payload).encode()
    head = (
        f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
        f"Authorization: Bearer {endpoint.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def post(
    endpoint: Endpoint,
    payload: dict[str, Any],
    *,
    drop_after: float | None = None,
    drop_after_text: float | None = None,
    on_text: Callable[[], None] | None = None,
    timeout: float = 120.0,  # noqa: ASYNC109 - the limit of the whole request, for the caller
) -> Reply:
    """Send one request and return the response.

    `drop_after` closes the connection that many seconds after it was opened, `drop_after_text` that
    many seconds after the first text. `on_text` is called when the first text arrives.

    Raises `TimeoutError` if the request takes longer than `timeout` seconds, and `OSError` if the
    server does not accept the connection.
    """
    loop = asyncio.get_running_loop()
    _, exchange = await loop.create_connection(
        lambda: _Exchange(_request(endpoint, payload)), endpoint.host, endpoint.port
    )
    exchange.hang_up_after_text = drop_after_text
    exchange.on_text = on_text
    try:
        limit = timeout if drop_after is None else drop_after
        await asyncio.wait_for(asyncio.shield(exchange.gone), limit)
        return exchange.reply(dropped=False)
    except _HungUp:
        return exchange.reply(dropped=True)
    except TimeoutError:
        if drop_after is None:
            raise
        return exchange.reply(dropped=True)
    finally:
        if exchange.transport is not None:
            exchange.transport.abort()


async def get(
    endpoint: Endpoint,
    path: str,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - as in `post`
) -> tuple[int, Any]:
    """GET `path` and return its status and decoded JSON (`None` if it is not JSON).

    Raises `TimeoutError` and `OSError` as `post` does.
    """
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
        f"Authorization: Bearer {endpoint.key}\r\nConnection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    _, exchange = await loop.create_connection(
        lambda: _Exchange(head.encode()), endpoint.host, endpoint.port
    )
    try:
        await asyncio.wait_for(asyncio.shield(exchange.gone), timeout)
    finally:
        if exchange.transport is not None:
            exchange.transport.abort()
    reply = exchange.reply(dropped=False)
    return reply.status, reply.events[0] if reply.events else None
