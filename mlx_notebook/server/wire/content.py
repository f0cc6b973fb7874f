"""Message content: one text, or a list of texts, images, sounds, documents and videos in order.

An image of a request is the part `{"type": "image", "source": ImageSource}`, so that it keeps its
position while messages are reordered; sounds, documents and videos likewise. Then
`server/media/attachments.py` turns documents and videos into images and text, and
`server/media/image_loader.py` reads the images.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mlx_notebook.protocol import EncodedImage, ImageDetail
from mlx_notebook.server.errors import InvalidRequest

ModelContent = str | list[dict[str, Any]]
# "original" asks for full resolution, as "high" does here.
RequestedDetail = Literal["auto", "low", "high", "original"]
AudioFormat = Literal["wav", "mp3", "flac"]
PagesAs = Literal["images", "text"]
FramesPerSecond = Annotated[float, Meta(gt=0, le=60)]
MaxFrames = Annotated[int, Meta(ge=1, le=100_000)]
FrameUrls = Annotated[list[str], Meta(min_length=1, max_length=100_000)]


class FileReference(Struct, frozen=True):
    """A file that the user has uploaded to `v1/files`. `where` is the JSON path of its id."""

    id: str
    where: str


class ImageSource(Struct, frozen=True):
    """An image as the request sends it: a URL, a data URI, base64, or a file of the user.

    `where` is its JSON path.
    """

    given: str | FileReference
    where: str
    detail: ImageDetail = "auto"

    @classmethod
    def of(
        cls, given: str | FileReference, where: str, detail: RequestedDetail | None
    ) -> "ImageSource":
        """Return an image with the `detail` of an OpenAI request."""
        return cls(given, where, "high" if detail == "original" else detail or "auto")


class DocumentSource(Struct, frozen=True):
    """A PDF as the request sends it.

    Attributes
    ----------
    given
        A URL, a data URI, base64, or a file of the user.
    where
        JSON path of the part or block that holds it.
    field
        JSON path of `given`.
    heading
        Texts that stand before its pages, for example its name.
    pages
        The choice of pages, for example "1-3,7". None: the first ones.
    pages_as
        Whether the model gets the pages as images, or their text.
    may_be_text
        Whether a file of the user may be a text instead.
    """

    given: str | FileReference
    where: str
    field: str
    heading: tuple[str, ...] = ()
    pages: str | None = None
    pages_as: PagesAs | None = None
    may_be_text: bool = False


class VideoSource(Struct, frozen=True):
    """A video as the request sends it.

    Attributes
    ----------
    given
        A URL, a data URI, base64, or a file of the user; or all but a file for each of its frames.
    where
        JSON path of the part that holds it.
    field
        JSON path of `given`.
    fps
        Frames a second to show, and for a list of frames those that it has.
    max_frames
        Most frames to show.
    """

    given: str | FileReference | tuple[str, ...]
    where: str
    field: str
    fps: float | None = None
    max_frames: int | None = None

    @classmethod
    def of(
        cls,
        given: str | FileReference | list[str],
        where: str,
        field: str,
        fps: float | None,
        max_frames: int | None,
    ) -> "VideoSource":
        """Return the video of a request.

        Raises
        ------
        InvalidRequest
            If there are more frames than `max_frames`.
        """
        if not isinstance(given, list):
            return cls(given, where, f"{where}.{field}", fps, max_frames)
        if max_frames is not None and len(given) > max_frames:
            raise InvalidRequest(
                f"'{where}.{field}' has {len(given):,} frames, more than 'max_frames': send fewer.",
                param=f"{where}.max_frames",
            )
        return cls(tuple(given), where, f"{where}.{field}", fps, max_frames)


class AudioSource(Struct, frozen=True):
    """A sound as the request sends it, in base64. `where` is its JSON path."""

    given: str
    where: str


class RenderedImage(Struct, frozen=True):
    """An image that this server made: a page, a frame, or several frames as one video.

    `frames` are those after `data`, and `times` the seconds of all.
    """

    data: bytes
    where: str
    media_type: str
    width: int
    height: int
    frames: tuple[bytes, ...] = ()
    times: tuple[float, ...] = ()


class CheckedImage(EncodedImage, kw_only=True, frozen=True):
    """An image whose header was read. `digest` is the SHA-256 of its bytes in hex."""

    media_type: str
    width: int
    height: int
    digest: str


MediaSource = ImageSource | DocumentSource | VideoSource | AudioSource
ContentPiece = str | MediaSource | RenderedImage

_KINDS = {
    ImageSource: ("image", "an image"),
    RenderedImage: ("image", "an image"),
    DocumentSource: ("document", "a document"),
    VideoSource: ("video", "a video"),
    AudioSource: ("audio", "a sound"),
}


_PLURALS = {"audio": "sounds"}


def content_of(pieces: Iterable[ContentPiece]) -> ModelContent:
    """Return texts, images, documents and videos as the content of a message.

    Adjacent texts are joined with a line break.
    """
    parts: list[dict[str, Any]] = []
    for piece in pieces:
        if not isinstance(piece, str):
            parts.append({"type": _KINDS[type(piece)][0], "source": piece})
        elif parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += f"\n{piece}"
        else:
            parts.append({"type": "text", "text": piece})
    if any(part["type"] != "text" for part in parts):
        return [part for part in parts if part.get("text") != ""]
    return parts[0]["text"] if parts else ""


def pieces_of(content: ModelContent) -> list[ContentPiece]:
    """Return the texts and images of a message's content; adjacent texts stay joined."""
    if isinstance(content, str):
        return [content] if content else []
    return [part["text"] if part["type"] == "text" else part["source"] for part in content]


def text_of(pieces: Iterable[ContentPiece], role: str) -> str:
    """Return pieces as one text, for a role whose messages cannot have images.

    Raises
    ------
    InvalidRequest
        There is an image, a document or a video; `param` is its JSON path.
    """
    texts = []
    for piece in pieces:
        if not isinstance(piece, str):
            kind, a_kind = _KINDS[type(piece)]
            raise InvalidRequest(
                f"'{piece.where}' is {a_kind} in a message of the role '{role}': "
                f"{_PLURALS.get(kind, f'{kind}s')} are only possible in user messages and tool "
                "results.",
                param=piece.where,
                code="unsupported_content",
            )
        texts.append(piece)
    return "\n".join(texts)


def image_sources(messages: Iterable[dict[str, Any]]) -> list[ImageSource | RenderedImage]:
    """Return the images of messages that have not been read yet, in order."""
    return [part["source"] for part in image_parts(messages) if "source" in part]


def image_parts(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the image parts of messages, in order."""
    for message in messages:
        if isinstance(message.get("content"), list):
            yield from (part for part in message["content"] if part["type"] == "image")


def audio_parts(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parts of messages that are sounds, in order."""
    for message in messages:
        if isinstance(message.get("content"), list):
            yield from (part for part in message["content"] if part["type"] == "audio")


def media_sources(messages: Iterable[dict[str, Any]]) -> list[MediaSource]:
    """Return the images, sounds, documents and videos of messages that have not been read yet."""
    return [
        part["source"]
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if "source" in part
    ]


def one_source(path: str, fields: Mapping[str, str | list[str] | None]) -> tuple[Any, str]:
    """Return what one of several fields gives, and the name of that field.

    Parameters
    ----------
    path
        JSON path of the part that has the fields.
    fields
        The fields by name. `file_id` is a file of the user, and becomes a `FileReference`.

    Raises
    ------
    InvalidRequest
        If none of them is given, or more than one.
    """
    given = [name for name, value in fields.items() if value is not None]
    if not given:
        first = next(iter(fields))
        raise InvalidRequest(
            f"The request needs '{path}.{first}'.",
            param=f"{path}.{first}",
            code="missing_parameter",
        )
    if len(given) > 1:
        raise InvalidRequest(
            f"'{path}' has {' and '.join(map(repr, given))}: send one of them.",
            param=f"{path}.{given[1]}",
            code="invalid_value",
        )
    [name] = given
    value = fields[name]
    if name == "file_id":
        return FileReference(str(value), f"{path}.file_id"), name
    return value, name
