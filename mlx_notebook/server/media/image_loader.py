"""Load the images of a request from base64, files and other servers, and check them.

Everything that an image's header can tell is checked here, so that a client gets an error before
its request waits for a model. Only the engine decodes pixels.
"""

import asyncio
import hashlib
import io
import re
import warnings
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.media.sources.image_fetcher import ImageError
from mlx_notebook.server.media.sources.media_kinds import IMAGE
from mlx_notebook.server.media.sources.source_reader import SourceReader
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.wire.content import (
    CheckedImage,
    ImageSource,
    RenderedImage,
    image_sources,
)

# Formats that the engine decodes, by Pillow's names. Pillow does not import the plugins of the
# last two by itself.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
_ADVICE = "send PNG, JPEG, WebP, GIF, BMP or TIFF"
_OTHER_CONTENT = {
    "an SVG drawing": re.compile(
        rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!DOCTYPE\s+)?svg", re.DOTALL | re.IGNORECASE
    ),
    "an HTML page": re.compile(rb"\s*<(!DOCTYPE\s+)?html", re.IGNORECASE),
    "a PDF document": re.compile(rb"%PDF-"),
    "a HEIC image": re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "an AVIF image": re.compile(rb".{4}ftypavi", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|\x1aE\xdf\xa3", re.DOTALL),
}


class ImageLimits(Struct, frozen=True):
    """Limits on images.

    Attributes
    ----------
    bytes
        Largest size of one image.
    pixels
        Most pixels of one image.
    count
        Most images of one request.
    total
        Largest size of all images of one request, in bytes.
    """

    bytes: int
    pixels: int
    count: int
    total: int


class ImageLoader:
    """Load and check the images that requests name.

    Parameters
    ----------
    limits
        Limits on size and number.
    reader
        Reader of what requests name.
    """

    def __init__(self, limits: ImageLimits, reader: SourceReader) -> None:
        self._limits = limits
        self._reader = reader

    async def load_images(self, prompt: ChatPrompt, files: UserFiles) -> ChatPrompt:
        """Return the prompt with the images that its messages name, also in files of the user.

        Raises
        ------
        InvalidRequest
            If one of them cannot be loaded or used. `param` names its place in the request.
        NotFound
            If the user has no such file.
        """
        found = image_sources(prompt.messages)
        if not found:
            return prompt
        limits = self._limits
        named = [source for source in found if isinstance(source, ImageSource)]
        if len(named) > limits.count:
            raise InvalidRequest(
                f"The request has {len(named):,} images. This server accepts at most "
                f"{limits.count:,} (MlxNotebookApp.max_images).",
                param=named[limits.count].where,
                code="too_many_images",
            )
        images: list[CheckedImage] = []
        left = limits.total
        for source in found:
            try:
                data = await self.read(source, files)
                size = len(data) + sum(map(len, getattr(source, "frames", ())))
                if (left := left - size) < 0:
                    raise ImageError(
                        f"with it, the request's images have more than {limits.total:,} bytes "
                        "(MlxNotebookApp.max_body_bytes)",
                        "image_too_large",
                    )
                images.append(await asyncio.to_thread(self.check_image, data, source))
            except ImageError as error:
                raise InvalidRequest(
                    f"The image at '{source.where}' cannot be used: {error.reason}.",
                    param=source.where,
                    code=error.code,
                ) from None
        messages = [_without_sources(message) for message in prompt.messages]
        return msgspec.structs.replace(prompt, messages=messages, images=[*images])

    async def read(self, source: ImageSource | RenderedImage, files: UserFiles) -> bytes:
        """Return the bytes of an image.

        Raises
        ------
        ImageError
            If it is not allowed, missing or too large.
        """
        if isinstance(source, RenderedImage):
            return source.data
        return await self._reader.read(source.given, self._limits.bytes, IMAGE, files)

    def check_image(self, data: bytes, source: ImageSource | RenderedImage) -> CheckedImage:
        """Return an image after its header was checked.

        Raises
        ------
        ImageError
            If it is no image of a known format, or has too many pixels.
        """
        if isinstance(source, RenderedImage):
            return _rendered(source)
        if not data:
            raise ImageError("it is empty")
        media_type, width, height = _read_header(data)
        if width * height > self._limits.pixels:
            raise ImageError(
                f"it has {width:,} x {height:,} pixels, and this server accepts "
                f"{self._limits.pixels:,} at most (MlxNotebookApp.max_image_pixels)",
                "image_too_large",
            )
        return CheckedImage(
            data=data,
            where=source.where,
            detail=source.detail,
            media_type=media_type,
            width=width,
            height=height,
            digest=hashlib.sha256(data).hexdigest(),
        )


def _rendered(source: RenderedImage) -> CheckedImage:
    digest = hashlib.sha256(source.data)
    for frame in source.frames:
        digest.update(frame)
    return CheckedImage(
        data=source.data,
        where=source.where,
        media_type=source.media_type,
        width=source.width,
        height=source.height,
        digest=digest.hexdigest(),
        frames=[*source.frames],
        times=[*source.times],
    )


def _without_sources(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [{"type": "image"} if part["type"] == "image" else part for part in content]
    return {**message, "content": parts}


def _read_header(data: bytes) -> tuple[str, int, int]:
    """Return the media type, width and height of an image, without decoding it."""
    from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    # The client gets the error, so keep Pillow's warnings out of the server's log.
    # `catch_warnings` is not safe here: this runs in threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            kind = str(image.format)
    except Image.DecompressionBombError:
        raise ImageError("it has more pixels than any image should", "image_too_large") from None
    except Exception:  # Pillow raises many kinds of errors for a broken header
        raise ImageError(_describe_other(data)) from None
    if not width or not height:
        raise ImageError("it has no pixels")
    # MPO: several images in one JPEG file, as some cameras write them.
    return "image/jpeg" if kind == "MPO" else Image.MIME[kind], width, height


def _describe_other(data: bytes) -> str:
    """Say what the data is that is not an image."""
    for what, pattern in _OTHER_CONTENT.items():
        if pattern.match(data, 0, 4096):
            return f"it is {what}: {_ADVICE}"
    if re.fullmatch(rb"[\t-\r -~]*", data[:512]):
        return f"it is text: {_ADVICE}"
    return f"it is broken, or not an image of a known format: {_ADVICE}"
