"""The file of a recorded run: requests and responses, next to the notebook.

The file is JSON with one line for each value or event, so that versions of it can be compared. It
holds no HTTP headers, and neither the server's token nor its address nor the user's home folder. A
signature tells the user's own files from others.
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
# Longer texts of a request are abbreviated in the file. The key is a hash of the whole request.
_TEXT_KEPT = 4_000
_IMAGE_KEPT = 60
# Fields that a file may leave out.
_NOTHING = {"cell": None, "request": None}


@dataclass
class Exchange:
    """One request and its response.

    Attributes
    ----------
    key
        Hash of the whole request.
    cell
        Number of the cell that sent it, if a cell did.
    body, events
        The response: JSON or text, or the events of a stream.
    seconds
        How long the response took.
    complete
        Whether a stream was read to its end.
    default_model
        The notebook's model at that time.
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
    def decode(cls, data: Any) -> "Exchange":
        """Read an exchange from decoded JSON.

        Raises
        ------
        ValueError, TypeError
            If it is not a valid exchange.
        """
        import msgspec

        exchange: Exchange = msgspec.convert({**_NOTHING, **data}, cls)
        if not (
            100 <= exchange.status <= 599
            and 0 <= exchange.seconds < math.inf
            and exchange.type.isprintable()
            and all(is_event(event) for event in exchange.events or ())
        ):
            raise ValueError("not a valid exchange")
        return exchange

    def encode(self) -> str:
        """Write the exchange as JSON, with a line for each field, message and event."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        if self.complete:
            del fields["complete"]
        lines = [f'   "{name}": {_lines(value, 4)}' for name, value in fields.items()]
        return "  {\n" + ",\n".join(lines) + "\n  }"


@dataclass
class Recording:
    """The exchanges of a run, in the order of the requests.

    Attributes
    ----------
    exchanges
        The exchanges.
    is_ours
        Whether this user recorded the file on this machine and nobody has changed it.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    is_ours: bool = False

    @classmethod
    def load(cls, file: Path) -> "Recording":
        """Read a recording.

        Raises
        ------
        BadRecording
            If the file does not exist or is not a recording.
        """
        try:
            if not stat.S_ISREG(found := file.stat().st_mode):
                kind = "a folder" if stat.S_ISDIR(found) else "not a regular file"
                raise BadRecording(f"{file} is {kind}.")
            if file.stat().st_size > 2 * MAX_BYTES:
                raise BadRecording(f"{file} is too large to be a recording.")
            text = file.read_text(encoding="utf-8")
            data = json.loads(text)
            version = data["mlx_notebook_recording"]
            if version != VERSION:
                raise BadRecording(
                    f"{file} is a recording of version {version!r}; "
                    f"this mlx-notebook reads version {VERSION}."
                )
            exchanges = [Exchange.decode(exchange) for exchange in data["exchanges"]]
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
    """The file of a run that is being recorded: valid at any time, and of limited size.

    A recording that was there before is replaced with the first response.

    Raises
    ------
    BadRecording
        If the path holds something other than a recording, or cannot be written.
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
        """Write an exchange, the `number`-th that was requested, unless the file is full."""
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


# Texts of requests that have changed since the first version. A request has the key that it had
# then, so that older recordings can still be replayed.
_FIRST_TEXTS = {
    "The image from the tool calls above:": "The picture from the tool calls above:",
    "The images, in order, from the tool calls above:": (
        "The pictures, in order, from the tool calls above:"
    ),
}


def request_key(method: str, path: str, request: Any) -> str:
    """Hash a request. The order of fields does not matter."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for text, first_text in _FIRST_TEXTS.items():
        canonical = canonical.replace(text, first_text)
    return hashlib.sha256(f"{method} {path}\n{canonical}".encode()).hexdigest()[:24]


def abbreviated(request: Any) -> Any:
    """Return a request as the file keeps it: with a hash for the rest of long texts and images."""
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
    """Return a function that removes the server's address and token and the home folder."""
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
    """Return the decoded JSON of a body; its text if it is not JSON, `None` if it is empty."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _lines(value: Any, depth: int) -> str:
    """Write JSON on one line, but lists with several elements on a line each."""
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
