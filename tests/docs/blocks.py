"""The fenced blocks of a Markdown page, and what is said of each in the comment above it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = ("python", "ipython")
SHELL = ("bash",)
# Blocks in these languages are read by people only.
READ = ("html", "http", "ini", "javascript", "json", "markdown", "text", "toml", "yaml")
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`]*)$")
_COMMENT = re.compile(r"^<!--\s*(?P<said>.*?)\s*-->$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    language, title
        What stands behind the fence: ```` ```python title="jupyter_server_config.py" ````.
    said
        The HTML comment directly above the fence.
    line
        Number of the fence's line, for messages.
    """

    language: str
    title: str
    said: str
    code: str
    line: int

    @property
    def is_run(self) -> bool:
        return self.language in PYTHON + SHELL and not self.reason

    @property
    def reason(self) -> str:
        """Why it is not run."""
        kind, _, reason = self.said.partition(":")
        return reason.strip() if kind == "not run" else ""


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page; indented ones, as in lists and notes, too."""
    lines = page.splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = lines.index(fence["indent"] + fence["ticks"], at + 1)
        above = _COMMENT.match(lines[at - 1].strip()) if at else None
        language, _, title = fence["info"].strip().partition(" ")
        indent = len(fence["indent"])
        found.append(
            Block(
                language=language,
                title=title.removeprefix('title="').removesuffix('"'),
                said=above["said"] if above else "",
                code="\n".join(line[indent:] for line in lines[at + 1 : end]),
                line=at + 1,
            )
        )
        at = end + 1
    return found
