"""Recording what the server answers, and answering from a recording in its place.

At most one run is on at a time: a `Recorder`, which looks at what passes, or a `Player`, which
answers. Whatever asks the server, a `Server` or one of the official clients, asks `current()`
first; nothing else knows of runs.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NOT_RECORDED
from mlx_notebook.notebook.recording.differences import difference, nearest
from mlx_notebook.notebook.recording.recorded_events import pack
from mlx_notebook.notebook.recording.recording_file import (
    Exchange,
    Recording,
    RecordingFile,
    cleaner,
    decoded,
    request_key,
    shortened,
)
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.shell import cell_number

# An address that no machine can have (RFC 2606), and a token that stands in no text.
_NOWHERE = ("http://recorded.invalid/", "a-recorded-run-needs-no-token")

Send = Callable[[], tuple[int, bytes]]
_current: "Recorder | Player | None" = None


def current() -> "Recorder | Player | None":
    """Give the run that is on."""
    return _current


def is_replayed() -> bool:
    """Whether a recording answers alone, and there need be no server."""
    return isinstance(_current, Player) and not _current.live


def is_doubtful() -> bool:
    """Whether answers may come from a file that this user did not write on this machine."""
    return isinstance(_current, Player) and not _current.is_trusted


def begin(run: "Recorder | Player") -> None:
    """Let a run see all that is asked from now on, instead of the one that was on."""
    global _current
    _current = run


def end() -> "Recorder | Player | None":
    """End the run that is on, and give it."""
    global _current
    run, _current = _current, None
    return run


class Recorder:
    """Writes each request and its answer into a file. Raises `BadRecording` for a bad place."""

    def __init__(self, path: Path) -> None:
        self.file = RecordingFile(path)
        self._asked = 0
        self._default: str | None = None
        self._lock = threading.Lock()

    def server(self, find: Callable[[], Server], default_model: Callable[[], str | None]) -> Server:
        """Give the server that was found, with this run listening."""
        server = find()
        self._default = default_model()
        return _Observed(server.url, server.token, server.found)

    def open(self, server: Server, method: str, path: str, body: bytes) -> "Entry":
        """Begin to record an exchange."""
        clean = cleaner(server)
        request = decoded(clean(body.decode(errors="replace")))
        with self._lock:
            self._asked += 1
            exchange = Exchange(
                key=request_key(method, path, request),
                cell=cell_number(),
                method=method,
                path=path,
                request=shortened(request),
                status=0,
                type="",
                seconds=0.0,
                default_model=self._default,
            )
            return Entry(self, self._asked, exchange, clean)

    def plain(self, server: Server, method: str, path: str, body: bytes, send: Send) -> Any:
        """Pass a request on and record the answer, unless a panel's thread asks for news."""
        if method == "GET" and not _in_cell():
            return send()
        entry = self.open(server, method, path, body)
        status, answer = send()
        entry.close(status, "application/json", answer)
        return status, answer

    def keep(self, number: int, exchange: Exchange) -> None:
        """Write an exchange that has ended."""
        with self._lock:
            full = self.file.full
            self.file.add(number, exchange)
        if self.file.full and not full:
            print(f"mlx_notebook: {self.file.path} is full; further answers are not recorded.")


@dataclass
class Entry:
    """An exchange that is being recorded. Times count from when it was made."""

    recorder: Recorder
    number: int
    exchange: Exchange
    clean: Callable[[str], str]

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._chunks: list[tuple[float, bytes]] = []

    def close(self, status: int, kind: str, body: bytes) -> None:
        """Record an answer that came in one piece."""
        text = self.clean(body.decode(errors="replace"))
        self._keep(status, kind, body=decoded(text))

    def add(self, chunk: bytes) -> None:
        """Take in a piece of a stream."""
        self._chunks.append((time.monotonic() - self._began, chunk))

    def close_stream(self, status: int, kind: str, *, exhausted: bool) -> None:
        """Record a stream as far as it came."""
        if kind.startswith("text/event-stream"):
            pieces = [(seconds, chunk.decode(errors="replace")) for seconds, chunk in self._whole()]
            events = pack(pieces, self.clean)
            done = bool(events) and events[-1].get("text", "").startswith("data: [DONE]")
            self._keep(status, kind, events=events, complete=exhausted or done)
        elif exhausted:
            self.close(status, kind, b"".join(chunk for _, chunk in self._chunks))

    def _whole(self) -> list[tuple[float, bytes]]:
        """Give the pieces, none of which ends inside a character."""
        pieces, rest = [], b""
        for seconds, chunk in self._chunks:
            chunk = rest + chunk
            cut = chunk.rfind(b"\n") + 1
            pieces.append((seconds, chunk[:cut]))
            rest = chunk[cut:]
        return [*pieces, (self._chunks[-1][0], rest)] if rest else pieces

    def _keep(self, status: int, kind: str, **answer: Any) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        ended = replace(self.exchange, status=status, type=kind, seconds=seconds, **answer)
        self.recorder.keep(self.number, ended)


class Player:
    """Answers from a recording; the n-th time a request is asked, with its n-th answer.

    Parameters
    ----------
    path
        The file. Raises `BadRecording` where it cannot be read.
    speed
        How many times faster than recorded the answers come; `inf` for at once.
    live
        Ask the server what was not recorded, where it would be an error otherwise.
    trust
        Make tool calls of a recording that this user did not make on this machine without asking.
    """

    def __init__(
        self, path: Path, *, speed: float = 1.0, live: bool = False, trust: bool = False
    ) -> None:
        self.path, self.speed, self.live = path, speed, live
        recording = Recording.load(path)
        self._exchanges = recording.exchanges
        self.is_trusted = trust or recording.is_ours
        self._answers: dict[str, list[int]] = {}
        for index, exchange in enumerate(self._exchanges):
            self._answers.setdefault(exchange.key, []).append(index)
        self._next: dict[str, int] = {}
        self._played: set[int] = set()
        self._default = self._exchanges[0].default_model if self._exchanges else None
        self.differing: list[str] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._exchanges)

    def server(self, find: Callable[[], Server], default_model: Callable[[], str | None]) -> Server:
        """Give a server that need not be there; with `live`, the one that is."""
        if self.live:
            server = find()
            return _Observed(server.url, server.token, f"{server.found}, behind {self.path.name}")
        return _Observed(*_NOWHERE, f"recorded in {self.path.name}")

    @property
    def default_model(self) -> str | None:
        """The default model at this point of the run."""
        return self._default

    def choose_model(self, name: str) -> None:
        """Let a model answer from here on, as the recorded notebook did."""
        self._default = name

    def take(self, server: Server, method: str, path: str, body: bytes) -> Exchange | None:
        """Give the recorded answer; for what has none an error, or with `live` nothing."""
        request = decoded(cleaner(server)(body.decode(errors="replace")))
        key = request_key(method, path, request)
        with self._lock:
            if found := self._answers.get(key):
                at = self._next.get(key, 0)
                index = found[min(at, len(found) - 1)]
                if method != "GET" or _in_cell():
                    self._next[key] = at + 1
                    self._played.add(index)
                    following = self._exchanges[min(index + 1, len(self._exchanges) - 1)]
                    self._default = following.default_model
                return self._exchanges[index]
            said = self._what_differs(method, path, request)
            if method != "GET" or _in_cell():
                self.differing.append(said)
        if self.live:
            if method != "GET":
                print(f"mlx_notebook: the server is asked, since {said}.")
            return None
        message = f"{said[0].upper()}{said[1:]}. Record the run again, or replay with `--live`."
        error = {"message": message, "type": "invalid_request_error", "param": None}
        answer = {"error": {**error, "code": NOT_RECORDED}}
        return Exchange(key, None, method, path, None, 404, "application/json", 0.0, answer)

    def plain(self, server: Server, method: str, path: str, body: bytes, send: Send) -> Any:
        """Answer a request, in the time that was recorded."""
        exchange = self.take(server, method, path, body)
        if exchange is None:
            return send()
        if method != "GET":
            time.sleep(self.pause(exchange.seconds))
        return exchange.status, content(exchange)

    def pause(self, seconds: float) -> float:
        """Seconds to wait here where so many passed in the recorded run."""
        return seconds / self.speed

    def summary(self) -> str:
        """Say how much was replayed and which cells differ."""
        asked = [i for i, e in enumerate(self._exchanges) if e.method != "GET"]
        played = sum(index in self._played for index in asked)
        lines = [f"{played} of {len(asked)} recorded answers were replayed."]
        lines += [f"{said[0].upper()}{said[1:]}." for said in self.differing]
        left = [self._exchanges[i].cell for i in asked if i not in self._played]
        cells = sorted({cell for cell in left if cell is not None})
        if cells:
            lines.append(f"Not replayed: what {_cells(cells)} asked in the recording.")
        if not self.differing and not left:
            lines.append("No cell differs.")
        return "\n".join(lines)

    def _what_differs(self, method: str, path: str, request: Any) -> str:
        cell = cell_number()
        who = "a request" if cell is None else f"cell [{cell}]"
        alike = [e for e in self._exchanges if (e.method, e.path) == (method, path)]
        # What has not been asked yet is more likely to be meant.
        alike.sort(key=lambda exchange: self._exchanges.index(exchange) in self._played)
        kept = shortened(request)
        index = nearest(kept, (exchange.request for exchange in alike))
        if index is None:
            return f"{who} asks `{method} {path}`, and {self.path.name} has no answer to it"
        recorded = alike[index]
        whose = "" if recorded.cell is None else f" (cell [{recorded.cell}])"
        return (
            f"{who} differs from what {self.path.name} has{whose}: "
            f"{difference(kept, recorded.request)}"
        )


def content(exchange: Exchange) -> bytes:
    """The body of an answer that is not a stream."""
    if exchange.body is None:
        return b""
    if isinstance(exchange.body, str):
        return exchange.body.encode()
    return json.dumps(exchange.body, ensure_ascii=False).encode()


class _Observed(Server):
    """A server whose plain requests pass through the run that is on."""

    def exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> tuple[int, bytes]:
        def send() -> tuple[int, bytes]:
            return super(_Observed, self).exchange(method, path, body, timeout)

        run = current()
        if run is None:
            return send()
        answer: tuple[int, bytes] = run.plain(self, method, path, body or b"", send)
        return answer

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """As without a run; while one is on, an order is a plain request, and has one event."""
        if current() is None:
            with super().stream(path, body) as events:
                yield events
        else:
            yield iter([{"phase": "done", **self.post(path, {**body, "stream": False})}])


def _in_cell() -> bool:
    return threading.current_thread() is threading.main_thread()


def _cells(numbers: list[int]) -> str:
    shown = ", ".join(f"[{number}]" for number in numbers)
    return f"cell {shown}" if len(numbers) == 1 else f"cells {shown}"
