"""Pictures that requests show: from base64, files and other servers to checked bytes.

All that can be told from a picture's head is told here, so that a client hears of it before its
request waits for a model. Pixels are decoded by the engine only.
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

# What the engine decodes, by Pillow's names; the last two are read by plugins that it does not
# import by itself.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
_TAKEN = "send PNG, JPEG, WebP, GIF, BMP or TIFF"
_NO_BASE64 = "it is neither base64, nor a data URI, nor a URL"
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_OTHERS = {
    "an SVG drawing": re.compile(
        rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!DOCTYPE\s+)?svg", re.DOTALL | re.IGNORECASE
    ),
    "an HTML page": re.compile(rb"\s*<(!DOCTYPE\s+)?html", re.IGNORECASE),
    "a PDF document": re.compile(rb"%PDF-"),
    "a HEIC picture": re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "an AVIF picture": re.compile(rb".{4}ftypavi", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|\x1aE\xdf\xa3", re.DOTALL),
}
# Decoded so much at a time, so that a large picture never holds up the event loop's thread.
_SLICE = 1 << 18


class ImageLimits(Struct, frozen=True):
    """Bytes and pixels of a picture, and number and bytes of all pictures of a request."""

    bytes: int
    pixels: int
    count: int
    total: int


class ImageLoader:
    """Takes in the pictures of requests.

    Args:
        limits: What they may be.
        fetcher: Gets those that are on other servers.
        root: Folder whose files may be shown; none if None.
    """

    def __init__(self, limits: ImageLimits, fetcher: ImageFetcher, root: Path | None) -> None:
        self._limits = limits
        self._fetcher = fetcher
        self._root = root

    async def load_images(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return the prompt with the pictures that its messages show.

        Raises:
            InvalidRequest: One of them cannot be had or used; `param` names its place.
        """
        found = image_sources(prompt.messages)
        if not found:
            return prompt
        limits = self._limits
        if len(found) > limits.count:
            raise InvalidRequest(
                f"The request shows {len(found):,} pictures; this server takes {limits.count:,} "
                "at most (MlxNotebookApp.max_images).",
                param=found[limits.count].where,
                code="too_many_images",
            )
        pictures: list[CheckedImage] = []
        left = limits.total
        for source in found:
            try:
                data = await self._data(source.given)
                if (left := left - len(data)) < 0:
                    raise ImageError(
                        f"with it, the request's pictures have more than {limits.total:,} bytes "
                        "(MlxNotebookApp.max_body_bytes)",
                        "image_too_large",
                    )
                pictures.append(await asyncio.to_thread(self._checked, data, source))
            except ImageError as error:
                raise InvalidRequest(
                    f"The picture at '{source.where}' cannot be used: {error.reason}.",
                    param=source.where,
                    code=error.code,
                ) from None
        messages = [_without_sources(message) for message in prompt.messages]
        return msgspec.structs.replace(prompt, messages=messages, images=[*pictures])

    async def _data(self, given: str) -> bytes:
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
        outside = ImageNotAllowed("it is no file below MlxNotebookApp.image_root")
        try:
            parts = urlsplit(url)
            root = self._root.resolve()
            path = (root / url2pathname(parts.path)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # RuntimeError: symlinks that form a ring
            raise outside from None
        if parts.netloc not in ("", "localhost") or not path.is_relative_to(root):
            raise outside
        try:
            # Neither waits for a pipe's other end nor follows a link that has just been put there.
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

    def _checked(self, data: bytes, source: ImageSource) -> CheckedImage:
        if not data:
            raise ImageError("it is empty")
        media_type, width, height = _head(data)
        if width * height > self._limits.pixels:
            raise ImageError(
                f"it has {width:,} x {height:,} pixels, and this server takes "
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
        raise ImageError("its data URI has no comma, behind which the picture comes")
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
        # Line breaks and all: what follows costs no more than this.
        raise too_large(most)
    try:
        plain = "".join(text.split()).encode("ascii")
    except UnicodeEncodeError:
        raise ImageError(_NO_BASE64) from None
    if len(plain) // 4 * 3 - plain[-2:].count(b"=") > most:
        raise too_large(most)
    if b"=" in plain[:-2]:
        raise ImageError(_NO_BASE64)
    slices = (plain[at : at + _SLICE] for at in range(0, len(plain), _SLICE))
    try:
        return b"".join([binascii.a2b_base64(part, strict_mode=True) for part in slices])
    except binascii.Error:
        if re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", plain):
            raise ImageError("its base64 is cut off") from None
        raise ImageError(_NO_BASE64) from None


def _head(data: bytes) -> tuple[str, int, int]:
    """Return a picture's media type, width and height, without decoding it."""
    from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    # The client is told what is wrong; Pillow's warnings do not belong in the server's log.
    # `catch_warnings` is not safe here: this runs in threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            kind = str(image.format)
    except Image.DecompressionBombError:
        raise ImageError("it has more pixels than any picture should", "image_too_large") from None
    except Exception:  # whatever a broken head leads to
        raise ImageError(_what_else(data)) from None
    if not width or not height:
        raise ImageError("it has no pixels")
    # Several pictures in one JPEG file, as some cameras write them.
    return "image/jpeg" if kind == "MPO" else Image.MIME[kind], width, height


def _what_else(data: bytes) -> str:
    """Say what bytes are that are no picture."""
    for what, pattern in _OTHERS.items():
        if pattern.match(data, 0, 4096):
            return f"it is {what}: {_TAKEN}"
    if re.fullmatch(rb"[\t-\r -~]*", data[:512]):
        return f"it is text: {_TAKEN}"
    return f"it is broken, or no picture of a kind that is known: {_TAKEN}"
