"""Read the file of a saved chat and check it before anything in it is used."""

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_notebook.notebook import signing
from mlx_notebook.notebook.errors import NotebookError

FORMAT = "mlx-notebook chat 1"
# Enough for a chat with many images.
MAX_BYTES = 500_000_000


@dataclass
class SavedChat:
    """The content of a file that `Chat.save` writes."""

    format: str
    model: str | None = None
    system: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Function:
    name: str
    arguments: str


@dataclass
class _Call:
    id: str
    function: _Function


@dataclass
class _Part:
    type: str


@dataclass
class _Message:
    role: str
    content: str | list[_Part] | None
    tool_calls: list[_Call] = field(default_factory=list)
    tool_call_id: str | None = None


def read(path: Path) -> tuple[SavedChat, bool]:
    """Read a saved chat.

    Returns
    -------
    tuple of SavedChat and bool
        The chat, and whether this user wrote the file on this machine.

    Raises
    ------
    NotebookError
        If there is no such file, or it is not a saved chat.
    """
    import msgspec

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotebookError(f"{path} is not a regular file.")
        if path.stat().st_size > MAX_BYTES:
            raise NotebookError(f"{path} is too large to be a chat.")
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise NotebookError(f"{path} is not a chat that `save` wrote.")
        saved = msgspec.convert(data, SavedChat)
        for message in msgspec.convert(saved.messages, list[_Message]):
            if message.role == "tool" and message.tool_call_id is None:
                raise ValueError("a tool result names no call")
        if not saved.usage.keys() <= {
            "requests", "prompt_tokens", "cached_tokens", "completion_tokens"
        }:  # fmt: skip
            raise ValueError("unknown token counts")
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        first = (str(error).splitlines() or ["it is nested too deeply"])[0]
        raise NotebookError(f"{path} is damaged: {first.rstrip('.')}.") from None
    return saved, signing.is_signed(text)
