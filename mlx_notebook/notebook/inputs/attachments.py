"""PDFs and videos of the notebook as the server gets them: whole, in base64."""

import base64
import re
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NotAPicture
from mlx_notebook.notebook.inputs.images import EncodedImage

# The first bytes of the files that the server reads as videos. A GIF is an image here.
_VIDEO = re.compile(
    rb".{4}ftyp(?!hei|hev|mif1|msf1|avi)|.{4}moov|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL
)
_HEAD = 1024


def content_part(value: Any, pages: str | None = None) -> dict[str, Any]:
    """Return an object as a content part of a message: a PDF, a video or an image.

    Parameters
    ----------
    value
        What `EncodedImage.of` takes; or a `pathlib.Path` or the bytes of a PDF or a video.
    pages
        The pages of a PDF to show, for example "1-3,7".

    Raises
    ------
    NotAPicture
        If it is none of these, or cannot be read. The message says why.
    """
    head = _head(value)
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
