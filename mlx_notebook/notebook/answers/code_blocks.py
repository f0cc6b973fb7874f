"""The code blocks of an answer."""

import re

_FENCE = re.compile(r"^ *(?P<marks>`{3,}|~{3,})[^`\n]*$")


def extract_code(text: str) -> str:
    """Return the fenced code blocks of a Markdown text, or the whole text if it has none.

    A block that was cut off counts too.
    """
    blocks: list[list[str]] = []
    marks = ""
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if not marks and fence:
            marks = fence["marks"]
            blocks.append([])
        elif (
            marks and fence and fence["marks"].startswith(marks) and line.strip() == fence["marks"]
        ):
            marks = ""
        elif marks:
            blocks[-1].append(line)
    return "\n\n".join("\n".join(block) for block in blocks) if blocks else text.strip()
