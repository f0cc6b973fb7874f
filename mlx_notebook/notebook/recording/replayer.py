"""Answer requests from a recording, in place of the server."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlx_notebook.notebook.errors import NOT_RECORDED
from mlx_notebook.notebook.recording import active_run
from mlx_notebook.notebook.recording.active_run import Send
from mlx_notebook.notebook.recording.differences import difference, nearest
from mlx_notebook.notebook.recording.recorded_server import RecordedServer
from mlx_notebook.notebook.recording.recording_file import (
    Exchange,
    Recording,
    abbreviated,
    decoded,
    redactor,
    request_key,
)
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.shell import cell_number, in_main_thread

# No host has this address (RFC 2606). The token is one that no text contains.
_PLACEHOLDER = ("http://recorded.invalid/", "a-recorded-run-needs-no-token")


class Replayer:
    """Answer from a recording: the n-th time that a request is sent, with its n-th response.

    Parameters
    ----------
    path
        The recording.
    speed
        How many times faster than recorded the responses come; `inf` for at once.
    live
        Send requests that were not recorded to the server. They are errors otherwise.
    trust
        Make the tool calls of a recording from elsewhere without asking.

    Raises
    ------
    BadRecording
        If the file cannot be read.
    """

    def __init__(
        self, path: Path, *, speed: float = 1.0, live: bool = False, trust: bool = False
    ) -> None:
        self.path, self.speed, self.live = path, speed, live
        recording = Recording.load(path)
        self._exchanges = recording.exchanges
        self.is_trusted = trust or recording.is_ours
        self._by_key: dict[str, list[int]] = {}
        for index, exchange in enumerate(self._exchanges):
            self._by_key.setdefault(exchange.key, []).append(index)
        self._next: dict[str, int] = {}
        self._played: set[int] = set()
        self._default_model = self._exchanges[0].default_model if self._exchanges else None
        self.differences: list[str] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._exchanges)

    def server(self, find: Callable[[], Server], default_model: Callable[[], str | None]) -> Server:
        """Return a placeholder for a server; with `live` the one that `find` finds."""
        if self.live:
            server = find()
            found = f"{server.found}, behind {self.path.name}"
            return RecordedServer(server.url, server.token, found, server.is_chosen)
        return RecordedServer(*_PLACEHOLDER, f"recorded in {self.path.name}")

    @property
    def default_model(self) -> str | None:
        """The default model at this point of the recorded run."""
        return self._default_model

    def choose_model(self, name: str) -> None:
        """Change the default model, as the recorded notebook did."""
        self._default_model = name

    def take(self, server: Server, method: str, path: str, body: bytes) -> Exchange | None:
        """Return the recorded exchange of a request.

        Without one, return an error response, or `None` with `live`.
        """
        request = decoded(redactor(server)(body.decode(errors="replace")))
        key = request_key(method, path, request)
        with self._lock:
            if found := self._by_key.get(key):
                at = self._next.get(key, 0)
                index = found[min(at, len(found) - 1)]
                if method != "GET" or in_main_thread():
                    self._next[key] = at + 1
                    self._played.add(index)
                    following = self._exchanges[min(index + 1, len(self._exchanges) - 1)]
                    self._default_model = following.default_model
                return self._exchanges[index]
            reason = self._difference(method, path, request)
            if method != "GET" or in_main_thread():
                self.differences.append(reason)
        if self.live:
            if method != "GET":
                print(f"mlx_notebook: asking the server, because {reason}.")
            return None
        message = f"{reason[0].upper()}{reason[1:]}. Record the run again, or replay with `--live`."
        error = {"message": message, "type": "invalid_request_error", "param": None}
        response = {"error": {**error, "code": NOT_RECORDED}}
        return Exchange(key, None, method, path, None, 404, "application/json", 0.0, response)

    def request(
        self, server: Server, method: str, path: str, body: bytes, send: Send
    ) -> tuple[int, bytes]:
        """Answer a request after the time that it took in the recorded run."""
        exchange = self.take(server, method, path, body)
        if exchange is None:
            return send()
        if method != "GET":
            time.sleep(self.pause(exchange.seconds))
        return exchange.status, content(exchange)

    def pause(self, seconds: float) -> float:
        """Return how many seconds to wait for what took `seconds` in the recorded run."""
        return seconds / self.speed

    def summary(self) -> str:
        """Describe how much was replayed and which cells differ."""
        asked = [i for i, e in enumerate(self._exchanges) if e.method != "GET"]
        played = sum(index in self._played for index in asked)
        lines = [f"{played} of {len(asked)} recorded answers were replayed."]
        lines += [f"{reason[0].upper()}{reason[1:]}." for reason in self.differences]
        left = [self._exchanges[i].cell for i in asked if i not in self._played]
        cells = sorted({cell for cell in left if cell is not None})
        if cells:
            lines.append(f"Not replayed: what {_cells(cells)} asked in the recording.")
        if not self.differences and not left:
            lines.append("No cell differs.")
        return "\n".join(lines)

    def _difference(self, method: str, path: str, request: object) -> str:
        """Describe how a request differs from the recorded one that is most like it."""
        cell = cell_number()
        who = "a request" if cell is None else f"cell [{cell}]"
        alike = [e for e in self._exchanges if (e.method, e.path) == (method, path)]
        # Prefer exchanges that have not been replayed yet.
        alike.sort(key=lambda exchange: self._exchanges.index(exchange) in self._played)
        kept = abbreviated(request)
        index = nearest(kept, (exchange.request for exchange in alike))
        if index is None:
            return f"{who} asks `{method} {path}`, and {self.path.name} has no answer to it"
        recorded = alike[index]
        where = "" if recorded.cell is None else f" (cell [{recorded.cell}])"
        return (
            f"{who} differs from what {self.path.name} has{where}: "
            f"{difference(kept, recorded.request)}"
        )


def is_replayed() -> bool:
    """Return whether a recording answers all requests, so that no server is needed."""
    run = active_run.current()
    return isinstance(run, Replayer) and not run.live


def is_untrusted() -> bool:
    """Return whether answers may come from a recording that this user did not make here."""
    run = active_run.current()
    return isinstance(run, Replayer) and not run.is_trusted


def content(exchange: Exchange) -> bytes:
    """Return the body of a response that is not a stream."""
    if exchange.body is None:
        return b""
    if isinstance(exchange.body, str):
        return exchange.body.encode()
    return json.dumps(exchange.body, ensure_ascii=False).encode()


def _cells(numbers: list[int]) -> str:
    shown = ", ".join(f"[{number}]" for number in numbers)
    return f"cell {shown}" if len(numbers) == 1 else f"cells {shown}"
