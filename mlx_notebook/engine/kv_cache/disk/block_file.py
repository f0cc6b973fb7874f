"""Reads and writes one block of the prefix cache: a file with named arrays and a checksum.

A file has a header, the bytes of the arrays and a SHA-256 of all that. First come `MAGIC` and the
length of the header. The header is JSON with the block's name and the name, type and shape of each
array. Spaces pad it to a multiple of 64 bytes.

Copying and hashing are a few calls on large buffers, during which Python's interpreter lock is
free: the thread that owns MLX keeps its speed meanwhile.
"""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

MAGIC = b"mlxnbkv2"
"""The first bytes of a file. They change with the format."""

Array = npt.NDArray[np.generic]
Arrays = dict[str, Array]

_ALIGNMENT = 64
_PREAMBLE = len(MAGIC) + 4
_DIGEST = hashlib.sha256().digest_size
_PIECES = 512  # for one call; macOS and Linux take 1,024
_BUFFER = 4 * 2**20
_MIN_FREE = 2**30


class DamagedBlock(Exception):
    """A file is not the block that its name says, or not all of it."""


class _Header(msgspec.Struct):
    name: str
    arrays: list[tuple[str, str, tuple[int, ...]]]


def write_block(file: Path, name: str, arrays: Arrays) -> int:
    """Write a block, readable by this user only, and rename it into place.

    Parameters
    ----------
    arrays
        Views are fine: they are written without a copy.

    Returns
    -------
    The bytes written.

    Raises
    ------
    OSError
        If the file cannot be written, or if the disk is nearly full.
    """
    header, size = _header(name, arrays), block_bytes(name, arrays)
    if shutil.disk_usage(file.parent).free < size + _MIN_FREE:
        raise OSError("the disk is nearly full")
    draft = file.with_name(f".{secrets.token_hex(8)}.tmp")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            _write(descriptor, [np.frombuffer(header, "u1")])
            _write(descriptor, [piece for a in arrays.values() for piece in _contiguous(a)])
            _write(descriptor, [np.frombuffer(_digest(descriptor, size - _DIGEST), "u1")])
        finally:
            os.close(descriptor)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return size


def read_block(file: Path, name: str) -> Arrays:
    """Read a block.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    DamagedBlock
        If it is not the whole block of this name.
    """
    with file.open("rb", buffering=0) as stream:
        data = np.empty(os.fstat(stream.fileno()).st_size, np.uint8)
        if _fill(stream.fileno(), memoryview(data.data)) < len(data):
            raise DamagedBlock("it became shorter")
    if data[: len(MAGIC)].tobytes() != MAGIC or len(data) < _PREAMBLE + _DIGEST:
        raise DamagedBlock("it has another format")
    if hashlib.sha256(data[:-_DIGEST].data).digest() != data[-_DIGEST:].tobytes():
        raise DamagedBlock("its checksum is wrong")
    begin = _PREAMBLE + int.from_bytes(data[len(MAGIC) : _PREAMBLE].tobytes(), "little")
    header = msgspec.json.decode(data[_PREAMBLE:begin].tobytes(), type=_Header)
    if header.name != name:
        raise DamagedBlock("it is the block of other tokens")
    arrays: Arrays = {}
    for part, kind, shape in header.arrays:
        end = begin + np.dtype(kind).itemsize * int(np.prod(shape))
        arrays[part] = data[begin:end].view(kind).reshape(shape)
        begin = end
    return arrays


def block_bytes(name: str, arrays: Arrays) -> int:
    """Return the size of a block's file."""
    return len(_header(name, arrays)) + sum(a.nbytes for a in arrays.values()) + _DIGEST


def _header(name: str, arrays: Arrays) -> bytes:
    parts = [(part, array.dtype.str, array.shape) for part, array in arrays.items()]
    text = msgspec.json.encode(_Header(name, parts))
    text += b" " * (-(_PREAMBLE + len(text)) % _ALIGNMENT)
    return MAGIC + len(text).to_bytes(4, "little") + text


def _contiguous(array: Array) -> list[Array]:
    """Return the parts of an array, in order, each in one stretch of memory.

    A part is copied only if it is not.
    """
    if array.flags.c_contiguous:
        return [array]
    if array.ndim > 2:
        return [piece for part in array for piece in _contiguous(part)]
    return [np.ascontiguousarray(array)]


def _write(descriptor: int, pieces: list[Array]) -> None:
    for first in range(0, len(pieces), _PIECES):
        group = pieces[first : first + _PIECES]
        done = os.writev(descriptor, group)  # type: ignore[arg-type]  # numpy's arrays are buffers
        if done == sum(piece.nbytes for piece in group):
            continue
        for piece in group:  # an interrupted call: write what is left
            rest = memoryview(piece.data).cast("B")[done:]
            done = max(0, done - piece.nbytes)
            while rest:
                rest = rest[os.write(descriptor, rest) :]


def _digest(descriptor: int, size: int) -> bytes:
    """Hash what was written. To read it again costs less than to hash many small parts."""
    digest = hashlib.sha256()
    buffer = memoryview(np.empty(min(size, _BUFFER), np.uint8).data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    while size:
        part = buffer[: min(size, len(buffer))]
        if _fill(descriptor, part) < len(part):
            raise OSError("the file became shorter while it was written")
        digest.update(part)
        size -= len(part)
    return digest.digest()


def _fill(descriptor: int, buffer: memoryview) -> int:
    """Read into a buffer and return how many bytes there were."""
    done = 0
    while done < len(buffer) and (count := os.readv(descriptor, [buffer[done:]])):
        done += count
    return done
