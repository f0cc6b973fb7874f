"""Code fences: those around a call belong to it, those of other code blocks are text."""

import re

FENCE = "```"
# A line that may open a code block as soon as the rest of it is known.
_LINE = re.compile(r"[ \t]*(?:`{1,2}|```[\w+.-]*)")
_OPENING = re.compile(r"```[\w+.-]*\s+")
_OPENING_BEGUN = re.compile(r"`{1,2}|```[\w+.-]*\s*")
_FENCE_LINE = re.compile(r"^[ \t]*(`{3,})([^`\n]*)$", re.MULTILINE)


def follow_block(text: str, ticks: int, *, begins_line: bool) -> int:
    """Return how many backticks close the code block that is open after `text`; 0: none is open.

    `ticks` says the same of the place before `text`.
    """
    start = 0 if begins_line else text.find("\n") + 1 or len(text)
    for line in _FENCE_LINE.finditer(text, start):
        marks, rest = line.groups()
        if not ticks:
            ticks = len(marks)
        elif len(marks) >= ticks and not rest.strip():
            ticks = 0
    return ticks


def hold_fence(text: str, *, begins_line: bool) -> tuple[str, str]:
    """Split `text` before the white space at its end, and before a fence that may open there.

    A call may follow, to which the fence then belongs. `begins_line` says whether the text is at
    the beginning of a line.
    """
    kept = text.rstrip()
    at = kept.rfind("\n") + 1
    line = kept[at:]
    begun = len(kept) == len(text) or FENCE in line
    if begun and (at or begins_line) and _LINE.fullmatch(line):
        kept = kept[:at].rstrip()
    return kept, text[len(kept) :]


def split_opening(text: str) -> tuple[str, str] | None:
    """Split `text` after the fence that it begins with; None while that is undecided."""
    if _OPENING_BEGUN.fullmatch(text):
        return None
    found = _OPENING.match(text)
    end = found.end() if found else 0
    return text[:end], text[end:]


def is_closing_begun(text: str) -> bool:
    """Return whether `text` may become a closing fence, or a fence that opens another block."""
    return FENCE.startswith(text.strip())


def is_closing(text: str) -> bool:
    """Return whether `text` begins with a fence that names no language."""
    return text.startswith(FENCE) and not re.match(r"[\w`]", text[len(FENCE) :])
