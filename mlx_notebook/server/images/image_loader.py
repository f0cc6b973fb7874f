"""Load the images of a request from base64, files and other servers, and check them.

Everything that an image's header can tell is checked here, so that a client gets an error before
its request waits for a model. Only the engine decodes pixels.
"""

import asyncio
import binascii
import hashlib
import io
import os
import re
import stat
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

import msgspec
from msgspec import Struct

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.images.image_fetcher import (
    ImageError,
    ImageFetcher,
    ImageNotAllowed,
    too_large,
)
from mlx_notebook.server.wire.content import CheckedImage, ImageSource, image_sources

# Formats that the engine decodes, by Pillow's names. Pillow does not import the plugins of the
# last two by itself.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
_ADVICE = "send PNG, JPEG, WebP, GIF, BMP or TIFF"
_NOT_BASE64 = "it is neither base64, nor a data URI, nor a URL"
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
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
# Decode base64 in pieces of this size, so that a large image does not hold the GIL for long.
_SLICE = 1 << 18


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
    fetcher
        Fetcher of images on other servers.
    root
        Folder whose files `file:` URLs may name; None allows no files.
    """

    def __init__(self, limits: ImageLimits, fetcher: ImageFetcher, root: Path | None) -> None:
        self._limits = limits
        self._fetcher = fetcher
        self._root = root

    async def load_images(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return the prompt with the images that its messages name.

        Raises
        ------
        InvalidRequest
            If one of them cannot be loaded or used. `param` names its place in the request.
        """
        found = image_sources(prompt.messages)
        if not found:
            return prompt
        limits = self._limits
        if len(found) > limits.count:
            raise InvalidRequest(
                f"The request has {len(found):,} images. This server accepts at most "
                f"{limits.count:,} (MlxNotebookApp.max_images).",
                param=found[limits.count].where,
                code="too_many_images",
            )
        images: list[CheckedImage] = []
        left = limits.total
        for source in found:
            try:
                data = await self._read(source.given)
                if (left := left - len(data)) < 0:
                    raise ImageError(
                        f"with it, the request's images have more than {limits.total:,} bytes "
                        "(MlxNotebookApp.max_body_bytes)",
                        "image_too_large",
                    )
                images.append(await asyncio.to_thread(self._check_image, data, source))
            except ImageError as error:
                raise InvalidRequest(
                    f"The image at '{source.where}' cannot be used: {error.reason}.",
                    param=source.where,
                    code=error.code,
                ) from None
        messages = [_without_sources(message) for message in prompt.messages]
        return msgspec.structs.replace(prompt, messages=messages, images=[*images])

    async def _read(self, given: str) -> bytes:
        scheme = _SCHEME.match(given, 0, 64)
        most = self._limits.bytes
        match scheme[1].lower() if scheme else None:
            case None:
                return await asyncio.to_thread(_from_base64, given, most)
            case "data":
                return await asyncio.to_thread(_from_data_uri, given, most)
            case "http" | "https":
                return await self._fetcher.fetch(given.strip(), most)
            case "file":
                return await asyncio.to_thread(self._from_file, given.strip())
            case other:
                raise ImageNotAllowed(f"URLs that begin with '{other}:' are not supported")

    def _from_file(self, url: str) -> bytes:
        if self._root is None:
            raise ImageNotAllowed("file: URLs are not allowed here (MlxNotebookApp.image_root)")
        outside = ImageNotAllowed("it is not a file below MlxNotebookApp.image_root")
        try:
            parts = urlsplit(url)
            root = self._root.resolve()
            path = (root / url2pathname(parts.path)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
            raise outside from None
        if parts.netloc not in ("", "localhost") or not path.is_relative_to(root):
            raise outside
        try:
            # Do not wait on a pipe, and do not follow a link that was put there just now.
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    raise outside
                with open(number, "rb", closefd=False) as file:
                    data = file.read(self._limits.bytes + 1)
            finally:
                os.close(number)
        except OSError as error:
            raise ImageError(f"it cannot be read: {error.strerror}", "image_not_fetched") from None
        if len(data) > self._limits.bytes:
            raise too_large(self._limits.bytes)
        return data

    def _check_image(self, data: bytes, source: ImageSource) -> CheckedImage:
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


def _without_sources(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [{"type": "image"} if part["type"] == "image" else part for part in content]
    return {**message, "content": parts}


def _from_data_uri(uri: str, most: int) -> bytes:
    head, comma, data = uri.partition(",")
    if not comma:
        raise ImageError("its data URI has no comma before the data")
    if head.rstrip().lower().endswith(";base64"):
        return _from_base64(data, most)
    if len(data) > 3 * most:
        raise too_large(most)
    plain = unquote_to_bytes(data)
    if len(plain) > most:
        raise too_large(most)
    return plain


def _from_base64(text: str, most: int) -> bytes:
    if len(text) > most * 2:
        # Too long even with line breaks. This bounds the work below.
        raise too_large(most)
    try:
        plain = "".join(text.split()).encode("ascii")
    except UnicodeEncodeError:
        raise ImageError(_NOT_BASE64) from None
    if len(plain) // 4 * 3 - plain[-2:].count(b"=") > most:
        raise too_large(most)
    if b"=" in plain[:-2]:
        raise ImageError(_NOT_BASE64)
    slices = (plain[at : at + _SLICE] for at in range(0, len(plain), _SLICE))
    try:
        return b"".join([binascii.a2b_base64(part, strict_mode=True) for part in slices])
    except binascii.Error:
        if re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", plain):
            raise ImageError("its base64 is cut off") from None
        raise ImageError(_NOT_BASE64) from None


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
