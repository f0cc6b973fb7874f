"""Read the files of a model's folder safely: anyone may have made them.

Only regular files are read, because reading a pipe would block. The size of files and the nesting
of JSON are limited. Server and engine have the same limits.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

LARGEST_SETTINGS = 4 * 2**20
"""Maximum bytes of a file that the server reads whole: config.json, a chat template, an index."""

_LARGEST_TEXT = 128 * 2**20
# Files that libraries read whole when they load a model. The largest vocabularies have 40 MB.
_TEXTS = (".json", ".jinja", ".txt", ".model", ".tiktoken")


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading, without ever blocking.

    Raises
    ------
    ValueError
        If it is no regular file.
    OSError
        If it cannot be opened.
    """
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(number), file)
        with open(number, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(number)


def read_bytes(file: Path, most: int = LARGEST_SETTINGS) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises
    ------
    ValueError
        If it is no regular file, or too large.
    OSError
        If it cannot be read.
    """
    with opened(file) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{shown(file.name)} is too large (over {most:,} bytes)")
    return content


def read_json(file: Path, most: int = LARGEST_SETTINGS, type: Any = Any) -> Any:
    """Return the value in a JSON file, as `type`.

    Raises
    ------
    ValueError
        If the JSON is not valid or nested too deeply, or the file is too large or not regular.
    OSError
        If it cannot be read.
    """
    return decoded(read_bytes(file, most), shown(file.name), type)


def decoded(content: bytes, name: str, type: Any = Any) -> Any:
    """Return the value in JSON, as `type`. Error messages call it `name`.

    Raises
    ------
    ValueError
        If the JSON is not valid or nested too deeply.
    """
    try:
        return msgspec.json.decode(content, type=type)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{name} is not readable JSON ({error})") from None


def check(folder: Path) -> None:
    """Check that no file of a folder would block or overload a library that loads it.

    A model that is one file passes: its header is checked when it is read.

    Raises
    ------
    ValueError
        If the folder or a subfolder holds a pipe, a socket, a device or a too large text file.
    OSError
        If it cannot be listed.
    """
    if folder.is_file():
        return
    for entry in _entries(folder):
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue  # a link in the hub's cache to a file that is not downloaded yet
        if stat.S_ISDIR(status.st_mode):
            continue
        file = Path(entry.path)
        _require_regular(status, file)
        if file.suffix in _TEXTS and status.st_size > _LARGEST_TEXT:
            raise ValueError(f"{shown(file.name)} is too large (over {_LARGEST_TEXT:,} bytes)")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder and of its subfolders."""
    with os.scandir(folder) as found:
        children = list(found)
    yield from children
    for child in children:
        if child.is_dir() and not child.name.startswith("."):
            with os.scandir(child.path) as found:
                yield from list(found)


def shown(name: str) -> str:
    """Return a file's name as valid UTF-8. Other bytes are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _require_regular(status: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{shown(file.name)} is no regular file")
