"""Keep data in an SQLite file that servers of one user may share.

SQLite runs on a thread of its own, so that a slow disk never delays a stream.
"""

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import TypeVar

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.storage.file_lock import locked

T = TypeVar("T")

# How long to wait for another server that uses the file.
_BUSY_SECONDS = 30.0


class SqliteFile:
    """An SQLite database that is created when it is first needed, readable by its user only.

    A damaged file is renamed, and a new one takes its place.

    Parameters
    ----------
    file
        The database.
    schema
        SQL that creates what is missing, and sets `user_version`.
    version
        The `user_version` of the schema. A file with a later one is left alone.
    what
        What it holds, for the log: "stored responses".
    explain
        Return the error for a client, from the reason why the file cannot be used.
    log
        Logger for a database that cannot be used.
    """

    def __init__(
        self,
        file: Path,
        schema: str,
        *,
        version: int,
        what: str,
        explain: Callable[[Exception], ApiError],
        log: Logger,
    ) -> None:
        self._file = file
        self._schema = schema
        self._version = version
        self._what = what
        self._explain = explain
        self._log = log
        self._thread = ThreadPoolExecutor(1, what)
        self._connection: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self._file.exists()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, frees: bool = False) -> T:
        """Call `work` with the database, in one transaction, and return its result.

        Parameters
        ----------
        work
            What to do.
        frees
            Whether it only deletes. Then it works on a full disk too, where SQLite has no room for
            its journal. The journal is in memory for that moment.

        Raises
        ------
        ApiError
            If the database cannot be used. `explain` makes it.
        """

        def transaction() -> T:
            with self._explain_errors():
                try:
                    return attempt()
                except (sqlite3.Error, OSError) as error:
                    if not (frees and is_full(error)):
                        raise
                with self._journal_in_memory():
                    return attempt()

        def attempt() -> T:
            try:
                with self._opened() as database:
                    return work(database)
            except sqlite3.DatabaseError as error:
                if not _is_damaged(error):
                    raise
                self._rename_damaged(error)
            with self._opened() as database:
                return work(database)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def close(self) -> None:
        """Close the database, after what is under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    # --- thread -----------------------------------------------------------------------------------

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._log.error("The %s in %s cannot be used: %s", self._what, self._file, error)
            raise self._explain(error) from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the database if it is not open, or if another file has replaced it."""
        if self._connection is not None and self._identity() != self._opened_file:
            self._drop()
        if self._connection is None:
            self._connection = self._open()
            self._opened_file = self._identity()
        with self._connection:
            yield self._connection

    @contextmanager
    def _journal_in_memory(self) -> Iterator[None]:
        with self._opened() as database:
            pass
        database.execute("PRAGMA journal_mode = MEMORY").fetchall()
        try:
            yield
        finally:
            self._drop()  # the next connection has its journal on the disk

    def _identity(self) -> tuple[int, int] | None:
        """Return the identity of the file, None if there is none."""
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rename_damaged(self, error: sqlite3.Error) -> None:
        """Rename a damaged file, unless another server has just done so."""
        was_open = self._connection is not None
        self._drop()
        with locked(self._file.with_suffix(".lock")):
            if self._identity() != self._opened_file if was_open else self._opens():
                return
            damaged = self._file.with_suffix(f".broken-{time.time_ns()}")
            self._log.warning(
                "%s is damaged (%s). It is renamed to %s.", self._file, error, damaged
            )
            self._file.rename(damaged)
            # The rollback journal belongs to the renamed file.
            self._file.with_name(self._file.name + "-journal").unlink(missing_ok=True)

    def _opens(self) -> bool:
        try:
            self._open().close()
        except sqlite3.DatabaseError:
            return False
        return True

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nobody else may read what was said to a model, not even for a moment.
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > self._version:
                raise OSError("they were written by a newer version of mlx-notebook")
            if version < self._version:  # else nothing is written, on a full disk too
                connection.executescript(self._schema)
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def shrink(database: sqlite3.Connection) -> None:
    """Give the room of what was deleted back to the disk.

    The file must have been created with `auto_vacuum = INCREMENTAL`.
    """
    (pages,) = database.execute("PRAGMA freelist_count").fetchone()
    for _ in range(pages):  # each call from Python does one step of it, which is a page
        database.execute("PRAGMA incremental_vacuum(1)").fetchall()


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk is full."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        return code == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether an error says that the file was overwritten or emptied."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)
