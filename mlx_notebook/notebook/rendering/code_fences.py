"""Find fenced code in Markdown, also in a text that still grows."""

import re

_CODE_FONT = '<div style="font-family: var(--jp-code-font-family, monospace)">'
_FENCE = re.compile(r"^ *(`{3,}|~{3,})")


def settled_length(text: str, reopen: str, *, limit: int) -> int:
    """Return how many characters of a growing Markdown text no longer change their look.

    They end at the last blank line outside fenced code and before an unindented line. If the text
    is longer than `limit` characters, they end at its last line end.

    Parameters
    ----------
    text
        The text.
    reopen
        The line that opened the fence in which the text begins, if it begins in one.
    limit
        In characters.
    """
    marks = reopen.strip()[:3]
    position = cut = 0
    blank = False
    for line in text.splitlines(keepends=True):
        if blank and not marks and not line[0].isspace():
            cut = position
        fence = _FENCE.match(line)
        if fence and not marks:
            marks = fence[1]
        elif fence and fence[1].startswith(marks) and line.strip() == fence[1]:
            marks = ""
        blank = not line.strip()
        position += len(line)
    if not cut and len(text) > limit:
        cut = text.rfind("\n") + 1
    return cut


def in_code_font(markdown: str) -> str:
    """Add the code font to each code block with a language.

    nbconvert colours such a block, but its HTML template shows it in the font of the text.
    """
    parts: list[str] = []
    opened = ""
    for line in markdown.splitlines(keepends=True):
        fence = _FENCE.match(line)
        closes = fence and line.strip() == fence[1] and fence[1].startswith(opened.strip()[:3])
        if fence and not opened:
            opened = line
            if _has_language(opened):
                parts.append(f"\n{_CODE_FONT}\n\n")
            parts.append(line)
        elif opened and closes:
            parts.append(line)
            if _has_language(opened):
                end = "" if line.endswith("\n") else "\n"
                parts.append(f"{end}\n</div>\n\n")
            opened = ""
        else:
            parts.append(line)
    return "".join(parts)


def _has_language(fence: str) -> bool:
    """Return whether a line opens a code block with a language, outside lists and quotes."""
    return fence[0] in "`~" and bool(fence.strip("`~ \n"))


def open_fence(text: str) -> str:
    """Return the line that opened the fence in which a text ends; empty if it ends in none."""
    opened = ""
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line)
        if fence and not opened:
            opened = line
        elif fence and line.strip() == fence[1] and fence[1].startswith(opened.strip()[:3]):
            opened = ""
    return opened
