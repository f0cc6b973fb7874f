"""Define the SQLite file of files and batches, so that a batch ends in one transaction."""

import sqlite3
import time
from logging import Logger
from pathlib import Path

from mlx_notebook.server.errors import ApiError, InsufficientStorage, Unavailable
from mlx_notebook.server.storage.sqlite_file import SqliteFile, is_full, shrink

_VERSION = 1
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    bytes INTEGER NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner, number);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    holder TEXT NOT NULL,
    status TEXT NOT NULL,
    expires REAL NOT NULL,
    bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_by_owner ON batches (owner, number);
CREATE TABLE IF NOT EXISTS lines (
    batch TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    custom_id TEXT NOT NULL,
    outcome TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    request BLOB,
    answer BLOB,
    PRIMARY KEY (batch, number)
);
CREATE INDEX IF NOT EXISTS lines_that_wait ON lines (batch, number) WHERE outcome IS NULL;
PRAGMA user_version = 1;
"""
_USED = """
SELECT (SELECT COALESCE(SUM(bytes), 0) FROM files WHERE owner = :owner)
    + (SELECT COALESCE(SUM(bytes), 0) FROM batches WHERE owner = :owner)
"""


class BatchDatabase(SqliteFile):
    """The SQLite file of files and batches.

    Parameters
    ----------
    file
        The database.
    max_bytes
        Size of all files and batches of a user together, in bytes; 0 for none.
    log
        Logger for a database that cannot be used.
    """

    def __init__(self, file: Path, *, max_bytes: int, log: Logger) -> None:
        super().__init__(
            file, _SCHEMA, version=_VERSION, what="files and batches", explain=_unusable, log=log
        )
        self.max_bytes = max_bytes

    def require(self) -> None:
        """Check that the settings allow files.

        Raises
        ------
        Unavailable
            If they do not.
        """
        if not self.max_bytes:
            raise Unavailable(
                "This server keeps no files and no batches (MlxNotebookApp.files_max_bytes is 0).",
                code="files_unavailable",
            )

    def has_room(self, database: sqlite3.Connection, owner: str, wanted: int) -> bool:
        """Whether a user may keep so many bytes more."""
        (used,) = database.execute(_USED, {"owner": owner}).fetchone()
        return bool(used + wanted <= self.max_bytes)

    def require_room(self, database: sqlite3.Connection, owner: str, wanted: int) -> None:
        """Delete what has expired, and check that a user may keep so many bytes more.

        Raises
        ------
        InsufficientStorage
            If they may not.
        """
        delete_expired(database)
        if not self.has_room(database, owner, wanted):
            raise InsufficientStorage(
                "The files and batches of a user have at most "
                f"{self.max_bytes / 1e6:,.0f} MB together (MlxNotebookApp.files_max_bytes). "
                "Delete some of them.",
                code="too_many_files",
            )


def delete_expired(database: sqlite3.Connection) -> None:
    """Delete the files whose time is over."""
    if database.execute("DELETE FROM files WHERE expires <= ?", (time.time(),)).rowcount:
        shrink(database)


def _unusable(error: Exception) -> ApiError:
    if is_full(error):
        return InsufficientStorage(
            "The disk with the server's data directory is full. Delete files, or make room on the "
            "disk."
        )
    return Unavailable(
        f"Files and batches cannot be kept in the server's data directory: {error}.",
        code="files_unavailable",
    )
