"""A short list of models to begin with, for those who have none yet; its data is a file.

Sizes are bytes and approximate: what a model's own files say replaces them once it is here.
"""

from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

_FILE = Path(__file__).with_name("suggestions.json")


class Suggestion(Struct, frozen=True, forbid_unknown_fields=True):
    """A model on Hugging Face. `context_length` is in tokens."""

    id: str
    description: str
    download_bytes: int
    memory_bytes: int
    context_length: int
    capabilities: list[str]
    aliases: list[str] = []
    revision: str | None = None


@cache
def suggestions() -> tuple[Suggestion, ...]:
    """Return the list, in its order: from small to large within each purpose."""
    return tuple(msgspec.json.decode(_FILE.read_bytes(), type=list[Suggestion]))


def aliases() -> dict[str, str]:
    """Return the short names of listed models."""
    return {alias: model.id for model in suggestions() for alias in model.aliases}
