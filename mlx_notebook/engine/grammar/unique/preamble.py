"""What an answer may hold before its JSON value: reasoning, and the header of the answer."""

import copy
from typing import Self


class Preamble:
    """Text before a JSON value: optional reasoning, a header, white space.

    Parameters
    ----------
    start, end
        The marks that enclose optional reasoning; empty if there is none.
    between, head
        The text after the reasoning, and the header of the answer.
    """

    def __init__(
        self, start: bytes = b"", end: bytes = b"", between: bytes = b"", head: bytes = b""
    ) -> None:
        self._start, self._end, self._between, self._head = start, end, between, head
        self._text = b""
        self._reasoning = False

    def feed(self, data: bytes) -> bytes | None:
        """Process text. Return the beginning of the JSON value, None before it."""
        self._text += data
        if self._start and not self._reasoning:
            if len(self._text) < len(self._start) and self._start.startswith(self._text):
                return None
            self._reasoning = self._text.startswith(self._start)
            self._start = b""
        if self._reasoning:
            at = self._text.find(self._end, max(0, len(self._text) - len(data) - len(self._end)))
            if at < 0:
                return None
            self._text = self._text[at + len(self._end) :]
            self._reasoning = False
        return self._value()

    def copy(self) -> Self:
        """Return an independent copy."""
        return copy.copy(self)

    def _value(self) -> bytes | None:
        for header in ("_between", "_head"):
            text = self._text.lstrip()
            wanted: bytes = getattr(self, header)
            if wanted and len(text) < len(wanted) and wanted.startswith(text):
                return None
            if wanted and text.startswith(wanted):
                self._text = text[len(wanted) :]
                setattr(self, header, b"")
        return self._text.lstrip() or None
