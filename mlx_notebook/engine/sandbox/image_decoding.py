"""Encoded pictures to RGB: every format, mode and orientation, with limits before decoding."""

import io
import re
import warnings
from typing import Any

from mlx_notebook.engine.errors import InvalidImage
from mlx_notebook.protocol import EncodedImage

MAX_PIXELS = 64 * 2**20
"""Most pixels of one picture: 64 Mi, as a camera of 60 megapixels takes them."""

LOW_DETAIL_PIXELS = 512 * 512
"""What `detail: low` shrinks a picture to: OpenAI's size for it."""

MAX_SCANS = 100
"""Most scans of a JPEG: each is decoded over the whole image, and encoders write about ten."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names of what is read."""

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_START, _SCAN, _END = b"\xd8", b"\xda", b"\xd9"


def decode(picture: EncodedImage) -> Any:
    """The picture as Pillow's RGB image: upright, over white, its first frame.

    Raises
    ------
    InvalidImage
        If it is no picture, damaged or too large, saying which one and why.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not picture.data:
        raise refused(picture, "it is empty")
    try:
        with warnings.catch_warnings():
            # The size is checked here, before a pixel is decoded. The client is told of damage.
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(picture.data), formats=FORMATS)
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise refused(
                    picture,
                    f"it has {width} x {height} pixels, and {MAX_PIXELS} are the most allowed",
                )
            if opened.format in ("JPEG", "MPO"):
                _check_scans(picture)
            if opened.format == "JPEG" and picture.detail == "low":
                opened.draft("RGB", (1024, 1024))
            opened.load()
            image = _rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise refused(picture, _what(picture.data)) from error
    except Image.DecompressionBombError as error:
        raise refused(picture, "it has too many pixels") from error
    except MemoryError:
        raise
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise whatever damaged data leads them to
        raise refused(picture, f"it is damaged ({error})") from error
    if picture.detail == "low":
        return _shrunk(image, LOW_DETAIL_PIXELS)
    return image


def _check_scans(picture: EncodedImage) -> None:
    """Refuse a JPEG of too many scans, told by its markers up to the image's end."""
    data, scans, at = picture.data, 0, 0
    while (found := _MARKER.search(data, at)) and found[1] != _END:
        at = found.end()
        if found[1] != _START:
            at += max(2, int.from_bytes(data[at : at + 2]))
        scans += found[1] == _SCAN
        if scans > MAX_SCANS:
            raise refused(picture, f"it has more than {MAX_SCANS} scans")


def _rgb(image: Any) -> Any:
    """Eight bits a channel, over white where it is transparent."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Any) -> Any:
    """A greyscale image of 16 or 32 bits or of floats, scaled rather than clipped."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        scale = 255.0 if values.size and values.max() <= 1 else 1.0
    else:
        scale = 255.0 / 65535.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def _shrunk(image: Any, pixels: int) -> Any:
    from PIL import Image

    width, height = image.size
    factor = (pixels / (width * height)) ** 0.5
    if factor >= 1:
        return image
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def _what(data: bytes) -> str:
    """Why data that no decoder knows is no picture."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")) or b"<svg" in head:
        return "it is an SVG drawing, and only pixels are read: render it to PNG first"
    try:
        data[:512].decode("ascii")
    except UnicodeDecodeError:
        return "its format is unknown; PNG, JPEG, WebP, GIF, BMP and TIFF are read"
    return "it is text, not a picture"


def refused(picture: EncodedImage, why: str) -> InvalidImage:
    """The error that says why an image cannot be read."""
    return InvalidImage(f"The image at {picture.where} cannot be read: {why}.", picture.where)
