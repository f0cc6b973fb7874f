"""Read what a request names: base64, data URIs, files, uploads, and URLs of other servers."""

import asyncio
import binascii
import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from mlx_notebook.server.media.sources.image_fetcher import (
    ImageError,
    ImageFetcher,
    ImageNotAllowed,
    too_large,
)
from mlx_notebook.server.media.sources.media_kinds import MediaKind
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.wire.content import FileReference

_NOT_BASE64 = "it is neither base64, nor a data URI, nor a URL"
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
# Decode base64 in pieces of this size, so that a large file does not hold the GIL for long.
_SLICE = 1 << 18


class SourceReader:
    """Read the bytes of images, documents and videos.

    Parameters
    ----------
    fetcher
        Fetcher of files on other servers.
    root
        Folder whose files `file:` URLs may name; None allows no files.
    """

    def __init__(self, fetcher: ImageFetcher, root: Path | None) -> None:
        self._fetcher = fetcher
        self._root = root

    async def read(
        self, given: str | FileReference, most: int, kind: MediaKind, files: UserFiles
    ) -> bytes:
        """Return the bytes at a URL, in a data URI, in base64 or in an uploaded file.

        Parameters
        ----------
        given
            The URL, data URI or base64, or the file.
        most
            Largest size to accept, in bytes.
        kind
            What it is, for errors.
        files
            The files of the user.

        Raises
        ------
        ImageError
            If it is not allowed, missing, too large or not what it should be.
        NotFound
            If the user has no such file.
        """
        if isinstance(given, FileReference):
            return await files.read(given, most, kind)
        scheme = _SCHEME.match(given, 0, 64)
        match scheme[1].lower() if scheme else None:
            case None:
                return await asyncio.to_thread(_from_base64, given, most, kind)
            case "data":
                return await asyncio.to_thread(_from_data_uri, given, most, kind)
            case "http" | "https":
                return await self._fetcher.fetch(given.strip(), most, kind)
            case "file":
                return await asyncio.to_thread(self._from_file, given.strip(), most, kind)
            case other:
                raise ImageNotAllowed(f"URLs that begin with '{other}:' are not supported")

    def _from_file(self, url: str, most: int, kind: MediaKind) -> bytes:
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
                    data = file.read(most + 1)
            finally:
                os.close(number)
        except OSError as error:
            raise ImageError(f"it cannot be read: {error.strerror}", "image_not_fetched") from None
        if len(data) > most:
            raise too_large(most, kind)
        return data


def _from_data_uri(uri: str, most: int, kind: MediaKind) -> bytes:
    head, comma, data = uri.partition(",")
    if not comma:
        raise ImageError("its data URI has no comma before the data")
    if head.rstrip().lower().endswith(";base64"):
        return _from_base64(data, most, kind)
    if len(data) > 3 * most:
        raise too_large(most, kind)
    plain = unquote_to_bytes(data)
    if len(plain) > most:
        raise too_large(most, kind)
    return plain


def _from_base64(text: str, most: int, kind: MediaKind) -> bytes:
    if len(text) > most * 2:
        # Too long even with line breaks. This bounds the work below.
        raise too_large(most, kind)
    try:
        plain = "".join(text.split()).encode("ascii")
    except UnicodeEncodeError:
        raise ImageError(_NOT_BASE64) from None
    if len(plain) // 4 * 3 - plain[-2:].count(b"=") > most:
        raise too_large(most, kind)
    if b"=" in plain[:-2]:
        raise ImageError(_NOT_BASE64)
    slices = (plain[at : at + _SLICE] for at in range(0, len(plain), _SLICE))
    try:
        return b"".join([binascii.a2b_base64(part, strict_mode=True) for part in slices])
    except binascii.Error:
        if re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", plain):
            raise ImageError("its base64 is cut off") from None
        raise ImageError(_NOT_BASE64) from None
