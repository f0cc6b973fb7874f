"""PDFs, videos and sounds of the notebook as the server gets them: whole, in base64."""

import base64
import re
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NotAPicture
from mlx_notebook.notebook.inputs.as_text import from_library
from mlx_notebook.notebook.inputs.images import EncodedImage

# The first bytes of the files that the server reads as videos. A GIF is an image here.
_VIDEO = re.compile(
    rb".{4}ftyp(?!hei|hev|mif1|msf1|avi)|.{4}moov|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL
)
_HEAD = 1024
# The first bytes of the files of sound that the server takes in chats.
_SOUNDS = {
    "wav": re.compile(rb"RIFF.{4}WAVE", re.DOTALL),
    "mp3": re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"),
    "flac": re.compile(rb"fLaC"),
}


def content_part(value: Any, pages: str | None = None) -> dict[str, Any]:
    """Return an object as a content part of a message: a PDF, a video, a sound or an image.

    Parameters
    ----------
    value
        What `EncodedImage.of` takes; a `pathlib.Path` or the bytes of a PDF, a video or a sound; or
        IPython's `Audio`.
    pages
        The pages of a PDF to show, for example "1-3,7".

    Raises
    ------
    NotAPicture
        If it is none of these, or cannot be read. The message says why.
    """
    if is_sound(value):
        value = _recorded(value)
    head = _head(value)
    if (format := _sound_format(head)) is not None:
        sound = base64.b64encode(value.read_bytes() if isinstance(value, Path) else value).decode()
        return {"type": "input_audio", "input_audio": {"data": sound, "format": format}}
    is_pdf = b"%PDF-" in head
    if not is_pdf and not _VIDEO.match(head):
        return EncodedImage.of(value).part
    data = base64.b64encode(value.read_bytes() if isinstance(value, Path) else value).decode()
    if not is_pdf:
        return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
    file = {"file_data": f"data:application/pdf;base64,{data}"}
    if isinstance(value, Path):
        file["filename"] = value.name
    return {"type": "file", "file": file, **({"pages": pages} if pages is not None else {})}


def is_sound(value: Any) -> bool:
    """Return whether an object is a sound by its type. Paths, bytes and arrays are not."""
    if isinstance(value, type):
        return False
    if from_library(value, "IPython") and type(value).__name__ == "Audio":
        return True
    data = getattr(value, "data", None)
    return isinstance(data, bytes) and hasattr(value, "_repr_html_") and bool(_sound_format(data))


def _recorded(sound: Any) -> bytes:
    """Return the bytes of an object that `is_sound`.

    Raises
    ------
    NotAPicture
        If it holds none, or not in a format that the server takes.
    """
    data = sound.data
    if not isinstance(data, bytes):
        raise NotAPicture("This Audio holds no sound, only its address: read the file first.")
    if _sound_format(data) is None:
        raise NotAPicture("This Audio is neither WAV, MP3 nor FLAC: convert it first.")
    return data


def _sound_format(head: bytes) -> str | None:
    return next((name for name, mark in _SOUNDS.items() if mark.match(head)), None)


def _head(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value[:_HEAD])
    if not isinstance(value, Path):
        return b""
    try:
        with value.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise NotAPicture(f"{value} cannot be read: {error.strerror or error}.") from None
