"""Load the sounds of a request. Only the engine decodes them."""

from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook.protocol import ChatPrompt, EncodedSound
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.media.sources.image_fetcher import ImageError, naming
from mlx_notebook.server.media.sources.media_kinds import AUDIO
from mlx_notebook.server.media.sources.source_reader import SourceReader
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.wire.content import audio_parts


class SoundLimits(Struct, frozen=True):
    """Limits on sounds.

    Attributes
    ----------
    bytes, seconds
        Largest size of one sound, and the longest one.
    count, total
        Most sounds of one request, and their size together, in bytes.
    """

    bytes: int
    seconds: float
    count: int
    total: int


async def load_sounds(
    prompt: ChatPrompt, limits: SoundLimits, reader: SourceReader, files: UserFiles
) -> ChatPrompt:
    """Return the prompt with the sounds that its messages hold.

    Raises
    ------
    InvalidRequest
        If one of them is no base64 or too large. `param` names its place in the request.
    """
    sources = [part["source"] for part in audio_parts(prompt.messages) if "source" in part]
    if not sources:
        return prompt
    if len(sources) > limits.count:
        raise InvalidRequest(
            f"The request has {len(sources):,} sounds. This server accepts at most "
            f"{limits.count:,} (MlxNotebookApp.max_images).",
            param=sources[limits.count].where,
            code="too_many_sounds",
        )
    sounds = []
    left = limits.total

    async def read(given: str) -> bytes:
        data = await reader.read(given, limits.bytes, AUDIO, files)
        if len(data) > left:
            raise ImageError(
                f"with it, the request's sounds have more than {limits.total:,} bytes "
                "(MlxNotebookApp.max_body_bytes)",
                "image_too_large",
            )
        return data

    for source in sources:
        data = await naming(AUDIO, source.where, read(source.given))
        left -= len(data)
        sounds.append(EncodedSound(data=data, where=source.where, max_seconds=limits.seconds))
    messages = [_without_sources(message) for message in prompt.messages]
    return msgspec.structs.replace(prompt, messages=messages, sounds=sounds)


def _without_sources(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [{"type": "audio"} if part["type"] == "audio" else part for part in content]
    return {**message, "content": parts}
