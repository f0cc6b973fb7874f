"""What the text around a gap says about where the gap's text should end."""

import copy
from dataclasses import dataclass

from mlx_notebook.engine.infilling.code_scanner import CodeScanner
from mlx_notebook.protocol import FillPrompt

_SCANNED = 8192
"""Characters before the gap that are searched for open brackets and strings."""

_TAB = 8


@dataclass(frozen=True)
class GapPlace:
    """The place of a gap in code.

    Attributes
    ----------
    head
        The text of the gap's line before it, without its indentation.
    indent
        The indentation of that line, in columns.
    rest
        The text of the gap's line after it, without white space around it.
    next_line
        The first line with text below the gap, without white space around it.
    single_line
        Whether the gap's text is one line.
    missing
        How many of the brackets before the gap are not closed after it.
    """

    head: str
    indent: int
    rest: str
    next_line: str
    single_line: bool
    missing: int
    _scanner: CodeScanner

    def scanner(self) -> CodeScanner:
        """Return a scanner that has read the text before the gap."""
        return copy.deepcopy(self._scanner)


def place_of(prompt: FillPrompt) -> GapPlace:
    """Return the place of a prompt's gap."""
    line = prompt.prefix.rpartition("\n")[2]
    head = line.lstrip()
    first, _, below = prompt.suffix.partition("\n")
    rest = first.strip()
    scanner = CodeScanner(prompt.comment)
    tail = prompt.prefix[-_SCANNED:]
    scanner.feed(tail if len(tail) == len(prompt.prefix) else tail.partition("\n")[2])
    missing = max(0, len(scanner.expected) - _closed_in(prompt.suffix[:_SCANNED], prompt.comment))
    single = bool(rest) if prompt.single_line is None else prompt.single_line
    below_lines = (stripped for text in below.splitlines() if (stripped := text.strip()))
    indent = width(line[: len(line) - len(head)])
    return GapPlace(head, indent, rest, next(below_lines, ""), single, missing, scanner)


def _closed_in(suffix: str, comment: str) -> int:
    """Return how many brackets a text closes that it does not open."""
    scanner = CodeScanner(comment)
    closed = 0
    for character in suffix:
        if scanner.in_code and character in ")]}" and not scanner.expected:
            closed += 1
        scanner.feed(character)
    return closed


def width(indentation: str) -> int:
    """Return the columns of white space."""
    return len(indentation.expandtabs(_TAB))
