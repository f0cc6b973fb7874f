"""Read the header of a GGUF file: its metadata, and where its tensors are.

Anyone may have made the file, so every length and every place in it is checked before it is used.
Lists are not read, only found: a vocabulary has a hundred thousand texts, and few readers need it.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import struct
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from mlx_notebook.model_files.gguf.gguf_kinds import KINDS
from mlx_notebook.model_files.model_folder import opened, shown

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# Larger than any real file needs: a vocabulary of 300,000 tokens takes 15 MB.
_LARGEST_HEADER = 128 * 2**20
_MOST_ENTRIES = 2**16
_MOST_TEXTS = 2**21
_MOST_DIMENSIONS = 4
_LONGEST_KEY = 2**16
_LARGEST_ALIGNMENT = 2**20
# Value types of metadata: their number, and how `struct` reads them.
_NUMBERS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT, _LIST = 8, 9


class GgufList(Struct, frozen=True):
    """Where a list of the metadata is: `size` bytes from `offset`, with `count` values.

    `kind` is the number of their type.
    """

    kind: int
    count: int
    offset: int
    size: int


class GgufTensor(Struct, frozen=True):
    """Where a tensor is: `size` bytes from `offset` of the file.

    Attributes
    ----------
    shape
        Its dimensions, the one that varies fastest last, as in numpy.
    kind
        Name of its type, for example `Q4_0`.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    size: int


class GgufHeader(Struct, frozen=True):
    """The metadata and the tensors of a GGUF file."""

    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]


def read_header(file: Path) -> GgufHeader:
    """Return the header of a GGUF file.

    Raises
    ------
    ValueError
        If the file is cut off, damaged, or no GGUF file; the message says which.
    OSError
        If it cannot be read.
    """
    with opened(file) as stream:
        return _Reader(stream, shown(file.name)).header()


def read_values(file: Path, place: GgufList) -> list[Any]:
    """Return the values of a list of the metadata.

    Raises
    ------
    ValueError
        If the file has changed, or a text is not UTF-8.
    OSError
        If it cannot be read.
    """
    content = read_range(file, place.offset, place.size)
    if place.kind != _TEXT:
        return [value for (value,) in struct.iter_unpack(_NUMBERS[place.kind], content)]
    texts, at = [], 0
    for _ in range(place.count):
        length = int.from_bytes(content[at : at + 8], "little")
        texts.append(content[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return texts


def contains_text(content: bytes, text: str) -> bool:
    """Return whether a list of texts, as bytes of the file, contains a text."""
    encoded = text.encode()
    return len(encoded).to_bytes(8, "little") + encoded in content


def read_range(file: Path, offset: int, size: int) -> bytes:
    """Return bytes of a file.

    Raises
    ------
    ValueError
        If they are not there: the file was cut off since its header was read.
    OSError
        If the file cannot be read.
    """
    with opened(file) as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"{shown(file.name)} has changed while it was read")
    return content


class _Reader:
    """Reads one header from its begin to its end."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._size = os.fstat(stream.fileno()).st_size
        self._at = 0

    def header(self) -> GgufHeader:
        """Return the header."""
        if self._size < len(_MAGIC) or self._bytes(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{self._name} is no GGUF file")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise ValueError(
                f"{self._name} has version {version} of the GGUF format, and versions "
                f"{' and '.join(map(str, _VERSIONS))} are read"
            )
        tensors, entries = self._count(), self._count()
        metadata = {}
        for _ in range(entries):
            key = self._text(_LONGEST_KEY)
            metadata[key] = self._value(self._number("<I"))
        descriptions = [self._tensor() for _ in range(tensors)]
        return GgufHeader(metadata, self._placed(descriptions, metadata))

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return the name, the shape, the number of the type, and the offset in the data."""
        name = self._text(_LONGEST_KEY)
        dimensions = self._number("<I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self._damaged(f"a tensor of {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        return name, shape, self._number("<I"), self._number("<Q")

    def _placed(
        self, descriptions: list[tuple[str, tuple[int, ...], int, int]], metadata: dict[str, Any]
    ) -> tuple[GgufTensor, ...]:
        """Return the tensors with their places in the file, which must hold all of them."""
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= _LARGEST_ALIGNMENT:
            raise self._damaged("an alignment that is no size")
        begin = -(-self._at // alignment) * alignment
        tensors, end = {}, begin
        for name, shape, number, offset in descriptions:
            kind = KINDS.get(number)
            if kind is None:
                raise ValueError(f"{self._name} has tensors of an unknown type ({number})")
            if 0 in shape or shape[-1] % kind.values:
                raise self._damaged("a tensor whose rows are not whole blocks")
            size = prod(shape) // kind.values * kind.size
            end = max(end, begin + offset + size)
            if name in tensors:
                raise self._damaged(f"two tensors {name[:100]!r}")
            tensors[name] = GgufTensor(name, shape, kind.name, begin + offset, size)
        if end > self._size:
            raise self._cut(end)
        return tuple(tensors.values())

    def _value(self, kind: int) -> Any:
        """Return a value of the metadata; of a list only its place."""
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text(_LARGEST_HEADER)
        if kind != _LIST:
            raise self._damaged(f"a value of type {kind}")
        inner, count = self._number("<I"), self._number("<Q")
        begin = self._at
        if inner in _NUMBERS:
            self._skip(count * struct.calcsize(_NUMBERS[inner]))
        elif inner == _TEXT and count <= _MOST_TEXTS:
            for _ in range(count):
                self._skip(self._number("<Q"))
        else:
            raise self._damaged(f"a list of {count} values of type {inner}")
        return GgufList(inner, count, begin, self._at - begin)

    def _count(self) -> int:
        count = int(self._number("<Q"))
        if count > _MOST_ENTRIES:
            raise self._damaged(f"{count:,} entries")
        return count

    def _text(self, most: int) -> str:
        length = self._number("<Q")
        if length > most:
            raise self._damaged(f"a text of {length:,} bytes")
        return self._bytes(length).decode(errors="replace")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        self._reserve(count)
        content = self._stream.read(count)
        if len(content) != count:
            raise self._cut(self._at)
        return content

    def _skip(self, count: int) -> None:
        self._reserve(count)
        self._stream.seek(count, os.SEEK_CUR)

    def _reserve(self, count: int) -> None:
        self._at += count
        if self._at > _LARGEST_HEADER:
            raise ValueError(f"the header of {self._name} is larger than any model's")
        if self._at > self._size:
            raise self._cut(self._at)

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"the header of {self._name} is damaged: it describes {what}")

    def _cut(self, whole: int) -> ValueError:
        return ValueError(
            f"{self._name} is cut off, {self._size:,} of at least {whole:,} bytes are there: "
            "download it again"
        )
