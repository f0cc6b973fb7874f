"""Clean untrusted text for places without a renderer: questions, terminals and raw output."""

import re

# Control characters, without tab and line feed; for a character class.
CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
# Printable for Python, but invisible: fillers, joiners and variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*"
_ESCAPE = r"\x1b[ -/]*"
# ECMA-48: control sequences, control strings (titles, links), other escapes; then bare characters.
_SEQUENCE = re.compile(rf"{_CSI}[@-~]|{_STRING}(?:\x07|\x1b\\|\x9c)|{_ESCAPE}[0-~]|[{CONTROL}]")
_BEGUN = re.compile(rf"(?:{_CSI}|{_STRING}\x1b?|{_ESCAPE})\Z")
# A longer sequence is taken for text.
_LONGEST_SEQUENCE = 1_000


def visible(text: str, keep: str = "") -> str:
    """Write characters that hide, reorder or break text as Python escapes.

    These are control characters, bidirectional and zero-width characters, line separators and
    unusual spaces. The characters in `keep` stay.
    """
    return "".join(
        c if c in keep or (c.isprintable() and not _INVISIBLE.match(c)) else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


class ControlFilter:
    """Remove terminal control sequences from a text that comes in pieces.

    Line ends and tabs stay.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Add a piece and return the text that is safe to write now.

        The beginning of a sequence is held back until the rest of it comes.
        """
        text, self._held = self._held + piece, ""
        begun = _BEGUN.search(text)
        if begun is not None and len(text) - begun.start() <= _LONGEST_SEQUENCE:
            text, self._held = text[: begun.start()], text[begun.start() :]
        return _SEQUENCE.sub("", text)

    def end(self) -> str:
        """Return the text that was held back, without control sequences."""
        text, self._held = self._held, ""
        return _SEQUENCE.sub("", text)
