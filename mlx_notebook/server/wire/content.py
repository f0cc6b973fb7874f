"""What a message says and shows: one text, or texts and pictures in their order.

A picture travels through the messages as the part `{"type": "image", "source": PictureSource}`,
so that it stays in its place while messages are put in order; `server/pictures.py` takes it in.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.protocol import EncodedImage, ImageDetail
from mlx_notebook.server.errors import InvalidRequest

ModelContent = str | list[dict[str, Any]]
# "original" asks for all pixels, which is what "high" means here.
RequestedDetail = Literal["auto", "low", "high", "original"]


class ImageSource(Struct, frozen=True):
    """A picture as a request gives it (a URL, a data URI or base64); `where` is its place there."""

    given: str
    where: str
    detail: ImageDetail = "auto"

    @classmethod
    def of(cls, given: str, where: str, detail: RequestedDetail | None) -> "ImageSource":
        """Return a picture with the detail that OpenAI's clients ask for."""
        return cls(given, where, "high" if detail == "original" else detail or "auto")


class CheckedImage(EncodedImage, kw_only=True, frozen=True):
    """A picture whose head was read; `digest` is the SHA-256 of `data` in hex."""

    media_type: str
    width: int
    height: int
    digest: str


ContentPiece = str | ImageSource


def content_of(pieces: Iterable[ContentPiece]) -> ModelContent:
    """Return texts and pictures as a message holds them.

    Texts that follow each other become one, with a line break between them.
    """
    parts: list[dict[str, Any]] = []
    for piece in pieces:
        if isinstance(piece, ImageSource):
            parts.append({"type": "image", "source": piece})
        elif parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += f"\n{piece}"
        else:
            parts.append({"type": "text", "text": piece})
    if any(part["type"] == "image" for part in parts):
        return [part for part in parts if part.get("text") != ""]
    return parts[0]["text"] if parts else ""


def pieces_of(content: ModelContent) -> list[ContentPiece]:
    """Return what `content_of` was made of, as far as it can be told."""
    if isinstance(content, str):
        return [content] if content else []
    return [part["source"] if part["type"] == "image" else part["text"] for part in content]


def text_of(pieces: Iterable[ContentPiece], role: str) -> str:
    """Return pieces as one text, for a role that shows no pictures.

    Raises:
        InvalidRequest: There is a picture; `param` is its place.
    """
    texts = []
    for piece in pieces:
        if isinstance(piece, ImageSource):
            raise InvalidRequest(
                f"The picture at '{piece.where}' cannot stand in what the {role} says: pictures "
                "go into user messages and into the results of tools.",
                param=piece.where,
                code="unsupported_content",
            )
        texts.append(piece)
    return "\n".join(texts)


def image_sources(messages: Iterable[dict[str, Any]]) -> list[ImageSource]:
    """Return the pictures of messages that are still to be taken in, in their order."""
    return [part["source"] for part in image_parts(messages) if "source" in part]


def image_parts(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parts of messages that show pictures, in their order."""
    for message in messages:
        if isinstance(message.get("content"), list):
            yield from (part for part in message["content"] if part["type"] == "image")
