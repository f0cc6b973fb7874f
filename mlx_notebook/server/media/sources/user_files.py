"""Read the files that a user has uploaded to `v1/files`, for the requests of this user."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.batches.file_store import FileStore, file_not_found
from mlx_notebook.server.errors import NotFound
from mlx_notebook.server.media.sources.image_fetcher import ImageError, naming, too_large
from mlx_notebook.server.media.sources.media_kinds import DOCUMENT, MediaKind
from mlx_notebook.server.wire.content import (
    ContentPiece,
    DocumentSource,
    FileReference,
    content_of,
    media_sources,
    pieces_of,
)
from mlx_notebook.server.wire.openai.file_types import FileObject
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter

# The mark of a PDF stands in the beginning of the file.
_HEAD_BYTES = 1024


class UserFiles:
    """The files of one user.

    Parameters
    ----------
    store
        Returns the files of all users.
    owner
        The user.
    """

    def __init__(self, store: Callable[[], FileStore], owner: str) -> None:
        self._store = store
        self._owner = owner

    async def find(self, reference: FileReference, first: int = 0) -> tuple[FileObject, bytes]:
        """Return what there is to say of a file, and its first bytes.

        Raises
        ------
        NotFound
            If the user has no such file.
        """
        return await self._content(reference, first)

    async def read(self, reference: FileReference, most: int, kind: MediaKind) -> bytes:
        """Return the bytes of a file.

        Parameters
        ----------
        reference
            The file.
        most
            Largest size to accept, in bytes.
        kind
            What it is, for errors.

        Raises
        ------
        ImageError
            If it is too large.
        NotFound
            If the user has no such file.
        """
        # One byte more than allowed is enough to know.
        _, data = await self._content(reference, most + 1)
        if len(data) > most:
            raise too_large(most, kind)
        return data

    async def _content(self, reference: FileReference, first: int) -> tuple[FileObject, bytes]:
        try:
            return await self._store().content(self._owner, reference.id, first)
        except NotFound:
            raise file_not_found(reference.id, reference.where) from None


async def with_texts(prompt: ChatPrompt, files: UserFiles, most: int, total: int) -> ChatPrompt:
    """Return a prompt with the texts of those files of the user that are no PDFs.

    Parameters
    ----------
    prompt
        The prompt.
    files
        The files of the user.
    most, total
        Largest size of one text and of all of them, in bytes.

    Raises
    ------
    InvalidRequest
        If one of them is no text either, or too large.
    NotFound
        If the user has no such file.
    """
    sources = media_sources(prompt.messages)
    if not any(isinstance(source, DocumentSource) and source.may_be_text for source in sources):
        return prompt
    left = total
    messages: list[dict[str, Any]] = []
    for message in prompt.messages:
        if isinstance(content := message.get("content"), list):
            pieces: list[ContentPiece] = []
            for piece in pieces_of(content):
                if isinstance(piece, DocumentSource) and piece.may_be_text:
                    reading = _text(piece, files, min(most, left))
                    if (read := await naming(DOCUMENT, piece.where, reading)) is not None:
                        heading, text = read
                        pieces += [*heading, text]
                        left -= len(text)
                        continue
                pieces.append(piece)
            message = {**message, "content": content_of(pieces)}
        messages.append(message)
    return msgspec.structs.replace(prompt, messages=messages)


async def _text(
    document: DocumentSource, files: UserFiles, most: int
) -> tuple[tuple[str, ...], str] | None:
    """Return what stands before the text of a file, and the text; None for a PDF."""
    given = document.given
    assert isinstance(given, FileReference)
    file, head = await files.find(given, _HEAD_BYTES)
    if b"%PDF-" in head:
        return None
    for name in ("pages", "pages_as"):
        if getattr(document, name) is not None:
            raise unsupported_parameter(f"{document.where}.{name}", "only a PDF has pages")
    data = await files.read(given, most, DOCUMENT)
    try:
        text = await asyncio.to_thread(data.decode, "utf-8-sig")
    except UnicodeDecodeError:
        raise ImageError("it is neither a PDF nor a text in UTF-8") from None
    return document.heading or (file.filename,), text
