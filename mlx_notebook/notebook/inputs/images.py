"""The notebook's images as a vision model gets them: PNG files of limited size.

It imports no library for an image except pillow, and only if an image has to be read.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NotAPicture
from mlx_notebook.notebook.inputs.as_text import from_library

# The longest side in pixels. Larger images are scaled down.
MAX_IMAGE_SIDE = 2048


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is sent: a PNG file, and its size in pixels."""

    png: bytes
    width: int
    height: int

    @property
    def part(self) -> dict[str, Any]:
        """The image as a content part of a message."""
        url = "data:image/png;base64," + base64.b64encode(self.png).decode()
        return {"type": "image_url", "image_url": {"url": url}}

    @classmethod
    def of(cls, value: Any) -> "EncodedImage":
        """Encode an image.

        Parameters
        ----------
        value
            A PIL image; a numpy array, H x W (grey), H x W x 3 or H x W x 4, of `uint8` or of
            floats from 0 to 1; a matplotlib figure or axes; a `pathlib.Path`; the bytes of an image
            file; or an object with a `_repr_png_`. An image is scaled down to `MAX_IMAGE_SIDE`.

        Raises
        ------
        NotAPicture
            If it is something else, or cannot be read. The message says why.
        """
        return value if isinstance(value, cls) else _sized(_image(value), MAX_IMAGE_SIDE)

    @classmethod
    def thumbnail(cls, part: dict[str, Any], pixels: int) -> "EncodedImage":
        """Scale the image of a content part down; its longest side gets at most `pixels`."""
        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
        return _sized(_opened(data, "this"), pixels)


def is_image(value: Any) -> bool:
    """Return whether an object is an image by its type. Paths, bytes and arrays are not."""
    if isinstance(value, type):
        return False
    return (
        isinstance(value, EncodedImage)
        or from_library(value, "PIL")
        or (from_library(value, "matplotlib") and _figure(value) is not None)
        or (hasattr(value, "_repr_png_") and not hasattr(value, "_repr_markdown_"))
    )


def _image(value: Any) -> Any:
    if from_library(value, "PIL"):
        return value
    if from_library(value, "numpy") and hasattr(value, "shape"):
        return _from_array(value)
    if from_library(value, "matplotlib") and (figure := _figure(value)) is not None:
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return _opened(file.getvalue(), "the figure")
    if isinstance(value, Path):
        try:
            return _opened(value.read_bytes(), str(value))
        except OSError as error:
            raise NotAPicture(f"{value} cannot be read: {error.strerror or error}.") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return _opened(bytes(value), "these bytes")
    if callable(draw := getattr(value, "_repr_png_", None)) and not isinstance(value, type):
        drawn = draw()
        drawn = drawn[0] if isinstance(drawn, tuple) else drawn
        if isinstance(drawn, str):
            drawn = base64.b64decode(drawn)
        if drawn:
            return _opened(drawn, f"what {type(value).__name__} draws")
    hint = " For a file use pathlib.Path(...)." if isinstance(value, str) else ""
    raise NotAPicture(
        f"{type(value).__name__} is not an image: use a PIL image, a numpy array, a matplotlib "
        f"figure, a pathlib.Path or bytes.{hint}"
    )


def _figure(value: Any) -> Any:
    """Return the figure that a matplotlib object is or belongs to."""
    figure = value if hasattr(value, "savefig") else getattr(value, "figure", None)
    return figure if hasattr(figure, "savefig") else None


def _opened(data: bytes, what: str) -> Any:
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise NotAPicture(f"{what} is not an image: it is empty.")
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise NotAPicture(f"{what} is not an image in a format that pillow reads.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAPicture(f"{what} is a damaged image: {error}.") from None
    # A camera writes the rotation of an image into its metadata.
    return ImageOps.exif_transpose(image)


def _from_array(array: Any) -> Any:
    from PIL import Image

    shape = tuple(array.shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise NotAPicture(
            f"An array of shape {shape} is not an image: it must be height x width (grey), or "
            "height x width x 3 or 4 (red, green, blue, opacity)."
        )
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise NotAPicture(
                f"An array of floats is an image only if its values lie between 0 and 1; these go "
                f"from {low:g} to {high:g}."
            )
        array = (array * 255).round().astype("uint8")
    elif array.dtype != "uint8":
        raise NotAPicture(
            f"An array of {array.dtype} is not an image: it must be uint8, or floats from 0 to 1."
        )
    return Image.fromarray(array)


def _sized(image: Any, pixels: int) -> EncodedImage:
    if max(image.size) > pixels:
        if image.mode not in ("L", "LA", "RGB", "RGBA"):
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        image = image.copy()
        image.thumbnail((pixels, pixels))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, format="PNG")
    return EncodedImage(file.getvalue(), *image.size)
