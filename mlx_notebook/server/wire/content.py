"""Message content: one text, or a list of texts and images in order.

An image of a request is the part `{"type": "image", "source": ImageSource}`, so that it keeps its
position while messages are reordered. `server/images/request_images.py` then reads the image.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.protocol import EncodedImage, ImageDetail
from mlx_notebook.server.errors import InvalidRequest

ModelContent = str | list[dict[str, Any]]
# "original" asks for full resolution, as "high" does here.
RequestedDetail = Literal["auto", "low", "high", "original"]


class ImageSource(Struct, frozen=True):
    """An image as the request sends it: a URL, a data URI or base64. `where` is its JSON path."""

    given: str
    where: str
    detail: ImageDetail = "auto"

    @classmethod
    def of(cls, given: str, where: str, detail: RequestedDetail | None) -> "ImageSource":
        """Return an image with the `detail` of an OpenAI request."""
        return cls(given, where, "high" if detail == "original" else detail or "auto")


class CheckedImage(EncodedImage, kw_only=True, frozen=True):
    """An image whose header was read. `digest` is the SHA-256 of `data` in hex."""

    media_type: str
    width: int
    height: int
    digest: str


ContentPiece = str | ImageSource


def content_of(pieces: Iterable[ContentPiece]) -> ModelContent:
    """Return texts and images as the content of a message.

    Adjacent texts are joined with a line break.
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
    """Return the texts and images of a message's content; adjacent texts stay joined."""
    if isinstance(content, str):
        return [content] if content else []
    return [part["source"] if part["type"] == "image" else part["text"] for part in content]


def text_of(pieces: Iterable[ContentPiece], role: str) -> str:
    """Return pieces as one text, for a role whose messages cannot have images.

    Raises
    ------
    InvalidRequest
        There is an image; `param` is its JSON path.
    """
    texts = []
    for piece in pieces:
        if isinstance(piece, ImageSource):
            raise InvalidRequest(
                f"'{piece.where}' is an image in a message of the role '{role}': images are only "
                "possible in user messages and tool results.",
                param=piece.where,
                code="unsupported_content",
            )
        texts.append(piece)
    return "\n".join(texts)


def image_sources(messages: Iterable[dict[str, Any]]) -> list[ImageSource]:
    """Return the images of messages that have not been read yet, in order."""
    return [part["source"] for part in image_parts(messages) if "source" in part]


def image_parts(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the image parts of messages, in order."""
    for message in messages:
        if isinstance(message.get("content"), list):
            yield from (part for part in message["content"] if part["type"] == "image")
