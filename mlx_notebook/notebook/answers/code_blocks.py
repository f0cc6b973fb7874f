"""The code in an answer."""

import re

_FENCE = re.compile(r"^ *(?P<marks>`{3,}|~{3,})[^`\n]*$")


def code_of(text: str) -> str:
    """Give the fenced blocks of a Markdown text, one below the other; all of it if there is none.

    A block that was cut off counts as far as it came.
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
