"""Record each request to the server and its response in a file."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.recording.active_run import Send
from mlx_notebook.notebook.recording.recorded_events import pack
from mlx_notebook.notebook.recording.recorded_server import RecordedServer
from mlx_notebook.notebook.recording.recording_file import (
    Exchange,
    RecordingFile,
    abbreviated,
    decoded,
    redactor,
    request_key,
)
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.shell import cell_number, in_main_thread


class Recorder:
    """Write each request and its response to a file.

    Raises
    ------
    BadRecording
        If `path` holds something other than a recording, or its folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.file = RecordingFile(path)
        self._requests = 0
        self._default_model: str | None = None
        self._lock = threading.Lock()

    def server(self, find: Callable[[], Server], default_model: Callable[[], str | None]) -> Server:
        """Return the server that `find` finds, with its requests recorded."""
        server = find()
        self._default_model = default_model()
        return RecordedServer(server.url, server.token, server.found, server.is_chosen)

    def open(self, server: Server, method: str, path: str, body: bytes) -> "PendingExchange":
        """Begin to record an exchange."""
        redact = redactor(server)
        request = decoded(redact(body.decode(errors="replace")))
        with self._lock:
            self._requests += 1
            exchange = Exchange(
                key=request_key(method, path, request),
                cell=cell_number(),
                method=method,
                path=path,
                request=abbreviated(request),
                status=0,
                type="",
                seconds=0.0,
                default_model=self._default_model,
            )
            return PendingExchange(self, self._requests, exchange, redact)

    def request(
        self, server: Server, method: str, path: str, body: bytes, send: Send
    ) -> tuple[int, bytes]:
        """Send a request and record it, unless it is a panel that reads the server's state."""
        if method == "GET" and not in_main_thread():
            return send()
        pending = self.open(server, method, path, body)
        status, response = send()
        pending.close(status, "application/json", response)
        return status, response

    def keep(self, number: int, exchange: Exchange) -> None:
        """Write an exchange that has ended."""
        with self._lock:
            full = self.file.full
            self.file.add(number, exchange)
        if self.file.full and not full:
            print(f"mlx_notebook: {self.file.path} is full; further answers are not recorded.")


@dataclass
class PendingExchange:
    """An exchange that is being recorded. Its times count from when it was created."""

    recorder: Recorder
    number: int
    exchange: Exchange
    redact: Callable[[str], str]

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._chunks: list[tuple[float, bytes]] = []

    def close(self, status: int, content_type: str, body: bytes) -> None:
        """Record a response that came in one piece."""
        text = self.redact(body.decode(errors="replace"))
        self._keep(status, content_type, body=decoded(text))

    def add(self, chunk: bytes) -> None:
        """Add a chunk of a stream."""
        self._chunks.append((time.monotonic() - self._began, chunk))

    def close_stream(self, status: int, content_type: str, *, exhausted: bool) -> None:
        """Record a stream as far as it was read; `exhausted` says whether that was to its end."""
        if content_type.startswith("text/event-stream"):
            texts = [(seconds, chunk.decode(errors="replace")) for seconds, chunk in self._lines()]
            events = pack(texts, self.redact)
            done = bool(events) and events[-1].get("text", "").startswith("data: [DONE]")
            self._keep(status, content_type, events=events, complete=exhausted or done)
        elif exhausted:
            self.close(status, content_type, b"".join(chunk for _, chunk in self._chunks))

    def _lines(self) -> list[tuple[float, bytes]]:
        """Return the chunks, cut at line ends so that none ends inside a character."""
        pieces, rest = [], b""
        for seconds, chunk in self._chunks:
            chunk = rest + chunk
            cut = chunk.rfind(b"\n") + 1
            pieces.append((seconds, chunk[:cut]))
            rest = chunk[cut:]
        return [*pieces, (self._chunks[-1][0], rest)] if rest else pieces

    def _keep(self, status: int, content_type: str, **response: Any) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        ended = replace(
            self.exchange, status=status, type=content_type, seconds=seconds, **response
        )
        self.recorder.keep(self.number, ended)
