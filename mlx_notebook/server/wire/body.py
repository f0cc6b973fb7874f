"""Count the JSON values of a request body while it arrives.

A few megabytes of JSON can hold millions of values. To build them takes a second and a gigabyte, on
the event loop of the whole Jupyter server. So the server counts the values in each chunk as it
arrives, and refuses a body that has too many before it parses it.
"""

import re
from itertools import accumulate

MAX_VALUES = 1_000_000
MAX_FIELDS = 200_000
MAX_CONTAINERS = 100_000
MAX_DEPTH = 128

_ALL = bytes(range(256))
_NOT_COUNTED = bytes(set(_ALL) - set(b"[{,:"))
_NOT_NESTING = bytes(set(_ALL) - set(b"[{]}"))
# How a bracket changes the depth.
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
# Messages to the engine carry integers of 64 bits. One of 19 digits or more may not fit.
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+])-?[0-9]{19,}(?![0-9.eE])")
_OF_NUMBERS = b"0123456789.eE+-"
_LONGEST_KEPT = 64


class RequestBody:
    """The bytes of a body, and counts of the JSON in them.

    Attributes
    ----------
    content : bytearray
        The bytes that have arrived.
    large_integer : str or None
        The first integer that does not fit 64 bits, shortened.
    """

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray()
        self.large_integer: str | None = None
        self._values = 0
        self._fields = 0
        self._containers = 0
        self._depth = 0
        self._deepest = 0
        self._in_string = False
        # The end of a chunk whose meaning depends on the next one: a backslash, a number's digits.
        self._escape = b""
        self._number = b""
        if content:
            self.take(content)

    def take(self, piece: bytes) -> None:
        """Add a chunk of bytes."""
        self.content += piece
        piece = self._escape + piece
        self._escape = b"\\" * ((len(piece) - len(piece.rstrip(b"\\"))) % 2)
        piece = piece[: len(piece) - len(self._escape)]
        parts = piece.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        self._count(b'"'.join(parts[self._in_string :: 2]))
        self._in_string ^= len(parts) % 2 == 0

    def _count(self, structure: bytes) -> None:
        """Count the JSON that is outside of strings."""
        counted = structure.translate(None, _NOT_COUNTED)
        fields, commas = counted.count(b":"), counted.count(b",")
        self._fields += fields
        self._values += len(counted) - fields
        self._containers += len(counted) - fields - commas
        if nesting := structure.translate(None, _NOT_NESTING):
            depths = list(accumulate(map(_STEPS.__getitem__, nesting), initial=self._depth))
            self._depth, self._deepest = depths[-1], max(self._deepest, *depths)
        structure = self._number + structure
        whole = len(structure.rstrip(_OF_NUMBERS))
        self._number = _beginning(structure[whole:])
        if self.large_integer is None:
            self.large_integer = _large_integer(structure[:whole])

    @property
    def excess(self) -> str | None:
        """The limit that the body exceeds, as the end of a sentence that begins "The body"."""
        if self._deepest > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} levels deep"
        if self._containers > MAX_CONTAINERS:
            return f"holds more than {MAX_CONTAINERS:,} objects and arrays"
        if self._fields > MAX_FIELDS:
            return f"holds more than {MAX_FIELDS:,} fields of objects"
        if self._values > MAX_VALUES:
            return f"holds more than {MAX_VALUES:,} values"
        return None

    def clear(self) -> None:
        """Discard the bytes."""
        self.content.clear()


def _beginning(number: bytes) -> bytes:
    """Return the first bytes of a number: enough to see its type and whether it is too large."""
    if len(number) <= _LONGEST_KEPT:
        return number
    is_integer = number.strip(b"-").isdigit()
    return number[:_LONGEST_KEPT] if is_integer else b"."


def _large_integer(structure: bytes) -> str | None:
    """Return the first integer that does not fit 64 bits, shortened."""
    for found in _LONG_INTEGER.finditer(structure):
        text = found[0]
        if len(text.lstrip(b"-")) > 20 or not -(2**63) <= int(text) < 2**64:
            return text.decode() if len(text) <= 40 else f"{text[:40].decode()}..."
    return None
