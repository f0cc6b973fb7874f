"""A recorded run: what a notebook asked the server and what was answered, in a file beside it.

The file is JSON with one line a value, an event of a stream, so that versions of it can be
compared. It holds requests and answers, no headers, and neither the server's token nor its
address, nor the home folder of the person who made it. A signature tells that person's own files
from others.
"""

import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlx_notebook.notebook import signing
from mlx_notebook.notebook.errors import BadRecording
from mlx_notebook.notebook.recording.recorded_events import Event, is_event
from mlx_notebook.notebook.server.server import Server

VERSION = 1
MAX_BYTES = 32_000_000
# Longer texts of a request stand shortened in the file; its key is of the whole.
_TEXT_KEPT = 4_000
_IMAGE_KEPT = 60
# What a file leaves out where there is none.
_NOTHING = {"cell": None, "request": None}


@dataclass
class Exchange:
    """One request and its answer.

    `key` is a hash of the whole request, `cell` the number of the cell that asked, if a cell did.
    The answer is `body` (JSON, or text), or for a stream `events`. `seconds` is how long it took.
    A stream that was left early is not `complete`.
    """

    key: str
    cell: int | None
    method: str
    path: str
    request: Any
    status: int
    type: str
    seconds: float
    body: Any = None
    events: list[Event] | None = None
    complete: bool = True
    default_model: str | None = None

    @classmethod
    def decode(cls, told: Any) -> "Exchange":
        """Read an exchange from decoded JSON. Raises `ValueError` or `TypeError` if it is none."""
        import msgspec

        exchange: Exchange = msgspec.convert({**_NOTHING, **told}, cls)
        if not (
            100 <= exchange.status <= 599
            and 0 <= exchange.seconds < math.inf
            and exchange.type.isprintable()
            and all(is_event(event) for event in exchange.events or ())
        ):
            raise ValueError("an exchange that no run had")
        return exchange

    def encode(self) -> str:
        """JSON of it: a line for each field, and for each message or event of one that has many."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        if self.complete:
            del fields["complete"]
        lines = [f'   "{name}": {_lines(value, 4)}' for name, value in fields.items()]
        return "  {\n" + ",\n".join(lines) + "\n  }"


@dataclass
class Recording:
    """The exchanges of a run, in the order in which they were asked.

    `is_ours` says whether this user made the file on this machine, and nobody has changed it.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    is_ours: bool = False

    @classmethod
    def load(cls, file: Path) -> "Recording":
        """Read a file. Raises `BadRecording` where there is none, or it is none of ours."""
        try:
            if not stat.S_ISREG(found := file.stat().st_mode):
                kind = "a folder" if stat.S_ISDIR(found) else "not a regular file"
                raise BadRecording(f"{file} is {kind}.")
            if file.stat().st_size > 2 * MAX_BYTES:
                raise BadRecording(f"{file} is too large to be a recording.")
            text = file.read_text(encoding="utf-8")
            told = json.loads(text)
            version = told["mlx_notebook_recording"]
            if version != VERSION:
                raise BadRecording(
                    f"{file} is a recording of version {version!r}; "
                    f"this mlx-notebook reads version {VERSION}."
                )
            exchanges = [Exchange.decode(exchange) for exchange in told["exchanges"]]
            return cls(exchanges, signing.is_signed(text))
        except FileNotFoundError:
            raise BadRecording(f"There is no recording {file}: `%mlx record` makes one.") from None
        except OSError as error:
            raise BadRecording(f"{file} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise BadRecording(
                f"{file} is not a recording of `%mlx record`, or is damaged."
            ) from None


class RecordingFile:
    """The file of a run that is being recorded: whole at any time, and never too large.

    What stood there before is replaced with the first answer, not before.

    Raises
    ------
    BadRecording
        If the place holds something else than a recording, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self._parts: list[tuple[int, str]] = []
        self._size = 0
        if path.exists():
            Recording.load(path)
        elif not path.parent.is_dir():
            raise BadRecording(f"There is no folder {path.parent} to record into.")

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, number: int, exchange: Exchange) -> None:
        """Keep an exchange, the `number`-th that was asked, unless the file is full."""
        encoded = exchange.encode()
        self._size += len(encoded)
        if self.full or self._size > MAX_BYTES:
            self.full = True
            return
        self._parts.append((number, encoded))
        self._parts.sort(key=lambda part: part[0])
        self._write()

    def _write(self) -> None:
        text = (
            f'{{\n "mlx_notebook_recording": {VERSION},\n "exchanges": [\n'
            + ",\n".join(encoded for _, encoded in self._parts)
            + "\n ]\n}\n"
        )
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(signing.signed(text))
                Path(name).chmod(self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644)
                Path(name).replace(self.path)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise BadRecording(f"{self.path} cannot be written: {error.strerror}.") from None


def request_key(method: str, path: str, request: Any) -> str:
    """Hash a request by what it asks: two that differ only in the order of fields are one."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{method} {path}\n{canonical}".encode()).hexdigest()[:24]


def abbreviated(request: Any) -> Any:
    """Give a request as the file keeps it: long texts and images with their hash for the rest."""
    if isinstance(request, dict):
        return {name: abbreviated(value) for name, value in request.items()}
    if isinstance(request, list):
        return [abbreviated(value) for value in request]
    if isinstance(request, str):
        kept = _IMAGE_KEPT if request.startswith("data:") else _TEXT_KEPT
        if len(request) > kept + 100:
            digest = hashlib.sha256(request.encode()).hexdigest()[:12]
            return f"{request[:kept]} ... ({len(request)} characters, sha256 {digest})"
    return request


def redactor(server: Server) -> Callable[[str], str]:
    """Make the function that takes out of a text what belongs to one machine only."""
    private = {
        server.token: "<token>",
        server.url: "<server>/",
        urlsplit(server.url).netloc: "<server>",
        str(Path.home()): "~",
    }

    def clean(text: str) -> str:
        for found, shown in private.items():
            if len(found) > 3:
                text = text.replace(found, shown)
        return text

    return clean


def decoded(text: str) -> Any:
    """JSON of a body, or its text where it is none; `None` for an empty one."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _lines(value: Any, depth: int) -> str:
    """JSON on one line, but a line an element for what has several of them."""
    if isinstance(value, list) and len(value) > 1:
        inner = [" " * depth + _lines(element, depth + 1) for element in value]
        return "[\n" + ",\n".join(inner) + "\n" + " " * (depth - 1) + "]"
    if isinstance(value, dict) and any(isinstance(v, list) and len(v) > 1 for v in value.values()):
        inner = [
            f"{' ' * depth}{json.dumps(name, ensure_ascii=False)}: {_lines(element, depth + 1)}"
            for name, element in value.items()
        ]
        return "{\n" + ",\n".join(inner) + "\n" + " " * (depth - 1) + "}"
    return json.dumps(value, ensure_ascii=False)
