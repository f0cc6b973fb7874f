"""Whether a request of `POST v1/messages` marks what should be cached.

The prefix cache keeps every prompt, marked or not. But clients that set marks look for
`cache_creation_input_tokens` in the usage, so the computed tokens of a marked prompt count there.

Format: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching.
"""

from typing import Any

import msgspec
from msgspec import Struct


class _Marked(Struct):
    cache_control: dict[str, Any] | None = None


class _Message(Struct):
    content: str | list[_Marked] = ""


class _Body(_Marked):
    system: str | list[_Marked] | None = None
    tools: list[_Marked] | None = None
    messages: list[_Message] = []


_DECODER = msgspec.json.Decoder(_Body)


def has_cache_marks(body: bytes | bytearray) -> bool:
    """Return whether a valid request has a `cache_control` that is not null."""
    request = _DECODER.decode(body)
    parts = [request.system, request.tools, *(message.content for message in request.messages)]
    blocks = [block for part in parts if isinstance(part, list) for block in part]
    return any(marked.cache_control is not None for marked in (request, *blocks))
