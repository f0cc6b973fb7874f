"""Decode images to RGB, from any format, mode and orientation. Limits apply before decoding."""

import io
import re
import warnings
from typing import Any

from mlx_notebook.engine.errors import InvalidImage
from mlx_notebook.protocol import EncodedImage

MAX_PIXELS = 64 * 2**20
"""Maximum pixels of an image: 64 Mi, enough for a camera of 60 megapixels."""

LOW_DETAIL_PIXELS = 512 * 512
"""Size of an image with `detail: low`, as in OpenAI's API."""

MAX_SCANS = 100
"""Maximum scans of a JPEG. Each one covers the whole image; encoders write about ten."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names of the formats that are decoded."""

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_START, _SCAN, _END = b"\xd8", b"\xda", b"\xd9"


def decode(image: EncodedImage) -> Any:
    """Return an image as a Pillow RGB image: upright, over white, its first frame.

    Raises
    ------
    InvalidImage
        If the data is no image, is damaged, or is too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not image.data:
        raise refused(image, "it is empty")
    try:
        with warnings.catch_warnings():
            # The size is checked below, before a pixel is decoded. A damaged image is an error.
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(image.data), formats=FORMATS)
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise refused(
                    image,
                    f"it has {width} x {height} pixels, and {MAX_PIXELS} are the most allowed",
                )
            if opened.format in ("JPEG", "MPO"):
                _check_scans(image)
            if opened.format == "JPEG" and image.detail == "low":
                opened.draft("RGB", (1024, 1024))
            opened.load()
            decoded = _rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise refused(image, _what(image.data)) from error
    except Image.DecompressionBombError as error:
        raise refused(image, "it has too many pixels") from error
    except MemoryError:
        raise
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise exceptions of any kind for damaged data
        raise refused(image, f"it is damaged ({error})") from error
    if image.detail == "low":
        return _shrunk(decoded, LOW_DETAIL_PIXELS)
    return decoded


def _check_scans(image: EncodedImage) -> None:
    """Refuse a JPEG with too many scans, by the markers up to the end of the image."""
    data, scans, at = image.data, 0, 0
    while (found := _MARKER.search(data, at)) and found[1] != _END:
        at = found.end()
        if found[1] != _START:
            at += max(2, int.from_bytes(data[at : at + 2]))
        scans += found[1] == _SCAN
        if scans > MAX_SCANS:
            raise refused(image, f"it has more than {MAX_SCANS} scans")


def _rgb(image: Any) -> Any:
    """Return an image with 8 bits per channel. Transparent parts become white."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Any) -> Any:
    """Scale a greyscale image of 16 or 32 bits or floats to 8 bits, without clipping."""
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
    """Return why data that no decoder recognises cannot be read."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")) or b"<svg" in head:
        return "it is an SVG drawing, and only pixels are read: render it to PNG first"
    try:
        data[:512].decode("ascii")
    except UnicodeDecodeError:
        return "its format is unknown; PNG, JPEG, WebP, GIF, BMP and TIFF are read"
    return "it is text, not an image"


def refused(image: EncodedImage, why: str) -> InvalidImage:
    """Return the error for an image that cannot be read."""
    return InvalidImage(f"The image at {image.where} cannot be read: {why}.", image.where)
