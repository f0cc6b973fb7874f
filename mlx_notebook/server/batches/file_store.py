"""Keep the files that users upload, and those that batches make."""

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from mlx_notebook.server.batches.batch_database import BatchDatabase, delete_expired
from mlx_notebook.server.errors import InsufficientStorage, NotFound
from mlx_notebook.server.storage.sqlite_file import shrink
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.openai.file_types import FileObject, FilePurpose

FILE_PREFIX = "file-"
# Most files of a user.
_MAX_FILES = 10_000
_INSERT = """
INSERT INTO files (id, owner, filename, purpose, created, expires, bytes, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SHOWN = "id, bytes, created, filename, purpose, expires"
_OWN = "owner = :owner AND (expires IS NULL OR expires > :now)"
_LIST = f"""
SELECT {_SHOWN} FROM files WHERE {_OWN} AND (:purpose = '' OR purpose = :purpose)
"""  # noqa: S608
_PLACE = " AND number {sign} (SELECT number FROM files WHERE id = :after AND owner = :owner)"
_END = " ORDER BY number {order} LIMIT :limit"


@dataclass(frozen=True)
class NewFile:
    """A file to keep.

    Attributes
    ----------
    filename
        Its name, for people.
    purpose
        What it is for.
    content
        Its bytes.
    seconds
        How long to keep it; None until it is deleted.
    """

    filename: str
    purpose: FilePurpose
    content: bytes
    seconds: int | None = None


class FileStore:
    """Keep files of users. Each user sees only their own.

    Parameters
    ----------
    database
        Where they are kept.
    """

    def __init__(self, database: BatchDatabase) -> None:
        self._database = database

    async def create(self, owner: str, new: NewFile) -> FileObject:
        """Keep a new file.

        Raises
        ------
        InsufficientStorage
            If the user's files would be too many, or too large together.
        Unavailable
            If the settings allow none.
        """
        self._database.require()

        def write(database: sqlite3.Connection) -> FileObject:
            self._database.require_room(database, owner, len(new.content))
            query = "SELECT COUNT(*) FROM files WHERE owner = ?"
            if database.execute(query, (owner,)).fetchone()[0] >= _MAX_FILES:
                raise InsufficientStorage(
                    f"A user may have {_MAX_FILES:,} files. Delete some of them.",
                    code="too_many_files",
                )
            return add_file(database, owner, new)

        return await self._database.run(write)

    async def page(
        self, owner: str, *, purpose: str, after: str, limit: int, descending: bool
    ) -> list[FileObject] | None:
        """Return the files after the file `after`, and one more than `limit` if there is one.

        None if the user has no file `after`.
        """
        named = {"owner": owner, "now": time.time(), "purpose": purpose, "after": after}
        query = _LIST
        if after:
            query += _PLACE.format(sign="<" if descending else ">")
        query += _END.format(order="DESC" if descending else "ASC")

        def read(database: sqlite3.Connection) -> list[FileObject] | None:
            delete_expired(database)
            if after and _find(database, "1", owner, after) is None:
                return None
            rows = database.execute(query, {**named, "limit": limit + 1}).fetchall()
            return [_shown(row) for row in rows]

        return await self._database.run(read)

    async def get(self, owner: str, id: str) -> FileObject:
        """Return what there is to say of a file.

        Raises
        ------
        NotFound
            If the user has no such file.
        """
        row = await self._database.run(lambda database: _find(database, _SHOWN, owner, id))
        if row is None:
            raise file_not_found(id)
        return _shown(row)

    async def content(
        self, owner: str, id: str, first: int | None = None
    ) -> tuple[FileObject, bytes]:
        """Return a file with its bytes; only so many of them if `first` is given.

        Raises
        ------
        NotFound
            If the user has no such file.
        """
        part = "content" if first is None else f"substr(content, 1, {first:d})"
        shown = f"{_SHOWN}, {part}"
        row = await self._database.run(lambda database: _find(database, shown, owner, id))
        if row is None:
            raise file_not_found(id)
        return _shown(row[:-1]), row[-1]

    async def delete(self, owner: str, id: str) -> None:
        """Delete a file.

        Raises
        ------
        NotFound
            If the user has no such file.
        """

        def delete(database: sqlite3.Connection) -> int:
            query = "DELETE FROM files WHERE id = ? AND owner = ?"
            gone = database.execute(query, (id, owner)).rowcount
            shrink(database)
            return gone

        if not await self._database.run(delete, frees=True):
            raise file_not_found(id)


def add_file(database: sqlite3.Connection, owner: str, new: NewFile) -> FileObject:
    """Add a file in a transaction."""
    id, created, size = new_id(FILE_PREFIX), time.time(), len(new.content)
    expires = None if new.seconds is None else created + new.seconds
    head = (id, owner, new.filename, new.purpose, created, expires, size)
    database.execute(_INSERT, (*head, new.content))
    return _shown((id, size, created, new.filename, new.purpose, expires))


def file_not_found(id: str, param: str | None = None) -> NotFound:
    """Return the error for a file that a user does not have."""
    return NotFound(f"There is no file {id[:200]!r}.", param=param, code="file_not_found")


def _find(
    database: sqlite3.Connection, columns: str, owner: str, id: str
) -> tuple[Any, ...] | None:
    query = f"SELECT {columns} FROM files WHERE id = :id AND {_OWN}"  # noqa: S608
    named = {"id": id, "owner": owner, "now": time.time()}
    row: tuple[Any, ...] | None = database.execute(query, named).fetchone()
    return row


def _shown(row: tuple[Any, ...]) -> FileObject:
    id, size, created, filename, purpose, expires = row
    return FileObject(
        id=id,
        bytes=size,
        created_at=int(created),
        filename=filename,
        purpose=purpose,
        expires_at=None if expires is None else int(expires),
    )
