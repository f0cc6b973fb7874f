"""List a few models to start with, from a data file.

Sizes are approximate and in bytes. After the download, the model's own files are read instead.
"""

from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

_FILE = Path(__file__).with_name("suggestions.json")


class Suggestion(Struct, frozen=True, forbid_unknown_fields=True):
    """Describe a suggested model on Hugging Face. `context_length` is in tokens."""

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
    """Return the list, from small to large models for each purpose."""
    return tuple(msgspec.json.decode(_FILE.read_bytes(), type=list[Suggestion]))


def aliases() -> dict[str, str]:
    """Return the aliases of the suggested models."""
    return {alias: model.id for model in suggestions() for alias in model.aliases}
