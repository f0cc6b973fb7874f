"""The kinds of files that requests hold."""

from msgspec import Struct


class MediaKind(Struct, frozen=True):
    """A kind of file.

    Attributes
    ----------
    name
        What it is called in errors and their codes.
    types
        Beginnings of its media types.
    setting
        Setting of its largest size.
    """

    name: str
    types: tuple[str, ...]
    setting: str


IMAGE = MediaKind("image", ("image/",), "max_image_bytes")
DOCUMENT = MediaKind("document", ("application/pdf",), "max_document_bytes")
AUDIO = MediaKind("audio", ("audio/",), "max_audio_bytes")
VIDEO = MediaKind("video", ("video/", "image/gif"), "max_video_bytes")
