"""Keep batches and their lines, so that a server that is started again goes on where it stood."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from mlx_notebook.server.batches.batch_database import BatchDatabase
from mlx_notebook.server.batches.batch_record import (
    ENDED,
    BatchKind,
    BatchRecord,
    LineOutcome,
    OutcomeCounts,
    WaitingLine,
)
from mlx_notebook.server.batches.file_store import NewFile, add_file
from mlx_notebook.server.errors import NotFound, QueueFull
from mlx_notebook.server.storage.sqlite_file import shrink

T = TypeVar("T")
# Most batches of a user that have not ended, and most that are kept in all.
_MAX_ACTIVE, _MAX_KEPT = 100, 1000
# Largest sum of the answers of a batch: SQLite holds no larger file.
_MAX_ANSWERS = 512 * 1024 * 1024
_DECODER = msgspec.json.Decoder(BatchRecord)
_ENDED = ", ".join(f"'{status}'" for status in sorted(ENDED))
_PLACE = " AND number {sign} (SELECT number FROM batches WHERE id = :at AND owner = :owner)"
# Of those that have ended, keep the last ones.
_PRUNE = f"""
DELETE FROM batches WHERE owner = ? AND status IN ({_ENDED}) AND number NOT IN (
    SELECT number FROM batches WHERE owner = ? ORDER BY number DESC LIMIT {_MAX_KEPT}
)
"""  # noqa: S608


class BatchStore:
    """Keep the batches of users. Each user sees only their own.

    Parameters
    ----------
    database
        Where they are kept.
    holder
        Name of this server among those that share the file. A batch is run by its holder only.
    """

    def __init__(self, database: BatchDatabase, holder: str) -> None:
        self._database = database
        self._holder = holder

    async def create(self, record: BatchRecord, lines: Sequence[WaitingLine] = ()) -> None:
        """Keep a new batch, with its lines if they are known.

        Raises
        ------
        QueueFull
            If the user has too many batches that have not ended.
        InsufficientStorage
            If the user's files and batches would be too large together.
        Unavailable
            If the settings allow none.
        """
        self._database.require()

        def write(database: sqlite3.Connection) -> None:
            size = _size(lines)
            self._database.require_room(database, record.owner, size)
            query = (
                "SELECT COUNT(*) FROM batches WHERE owner = ? "  # noqa: S608
                f"AND status NOT IN ({_ENDED})"
            )
            if database.execute(query, (record.owner,)).fetchone()[0] >= _MAX_ACTIVE:
                raise QueueFull(
                    f"A user may have {_MAX_ACTIVE} batches that have not ended. Wait until one of "
                    "them ends, or cancel one.",
                    headers={"Retry-After": "60"},
                )
            database.execute(_PRUNE, (record.owner, record.owner))
            database.execute(
                "INSERT INTO batches (id, owner, kind, holder, status, expires, bytes, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(record.id, record.owner, record.kind, self._holder, record.status),
                    *(record.expires_at, size, msgspec.json.encode(record)),
                ),
            )
            _insert(database, record.id, lines)

        await self._database.run(write)

    async def get(self, owner: str, kind: BatchKind, id: str) -> BatchRecord | None:
        """Return a batch of a user with its counts as they are now; None if there is none."""

        def read(database: sqlite3.Connection) -> BatchRecord | None:
            query = "SELECT body FROM batches WHERE id = ? AND owner = ? AND kind = ?"
            row = database.execute(query, (id, owner, kind)).fetchone()
            return None if row is None else _counted(database, row[0])

        return await self._database.run(read)

    async def page(
        self, owner: str, kind: BatchKind, *, limit: int, after: str = "", before: str = ""
    ) -> list[BatchRecord] | None:
        """Return batches, newest first, and one more than `limit` if there is one.

        Parameters
        ----------
        after
            Return those that are older than this one.
        before
            Return those that are newer than this one, the next ones to it.

        Returns
        -------
        The batches; None if the user has no batch `after` or `before`.
        """
        at = after or before
        named = {"owner": owner, "kind": kind, "at": at, "limit": limit + 1}
        query = "SELECT body FROM batches WHERE owner = :owner AND kind = :kind"
        if at:
            query += _PLACE.format(sign="<" if after else ">")
        query += f" ORDER BY number {'ASC' if before and not after else 'DESC'} LIMIT :limit"

        def read(database: sqlite3.Connection) -> list[BatchRecord] | None:
            here = "SELECT 1 FROM batches WHERE id = :at AND owner = :owner AND kind = :kind"
            if at and database.execute(here, named).fetchone() is None:
                return None
            return [_counted(database, body) for (body,) in database.execute(query, named)]

        return await self._database.run(read)

    async def change(self, id: str, change: Callable[[BatchRecord], None]) -> BatchRecord:
        """Change a batch in one transaction, and return it."""

        def write(database: sqlite3.Connection) -> BatchRecord:
            record = _locked(database, id)
            change(record)
            _update(database, record)
            return record

        return await self._database.run(write)

    async def delete(self, id: str) -> None:
        """Delete a batch with its lines."""

        def write(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM batches WHERE id = ?", (id,))
            shrink(database)

        await self._database.run(write, frees=True)

    # --- lines ------------------------------------------------------------------------------------

    async def begin(
        self, id: str, lines: Sequence[WaitingLine], change: Callable[[BatchRecord], None]
    ) -> BatchRecord:
        """Add the lines of a batch and change it, in one transaction.

        Raises
        ------
        InsufficientStorage
            If the user's files and batches would be too large together.
        """

        def write(database: sqlite3.Connection) -> BatchRecord:
            record = _locked(database, id)
            self._database.require_room(database, record.owner, _size(lines))
            if record.status == "validating":
                _insert(database, id, lines)
                query = "UPDATE batches SET bytes = bytes + ? WHERE id = ?"
                database.execute(query, (_size(lines), id))
            change(record)
            _update(database, record)
            return record

        return await self._database.run(write)

    async def waiting(self, id: str, after: int, limit: int) -> list[WaitingLine]:
        """Return the next lines after the line `after` that are not answered."""
        query = (
            "SELECT number, custom_id, request, attempts FROM lines "
            "WHERE batch = ? AND outcome IS NULL AND number > ? ORDER BY number LIMIT ?"
        )
        found = await self._database.run(
            lambda database: database.execute(query, (id, after, limit)).fetchall()
        )
        return [WaitingLine(*row) for row in found]

    async def count_ended(self, id: str) -> int:
        """Return how many lines of a batch have ended."""
        query = "SELECT COUNT(*) FROM lines WHERE batch = ? AND outcome IS NOT NULL"
        return await self._database.run(
            lambda database: int(database.execute(query, (id,)).fetchone()[0])
        )

    async def count_attempt(self, id: str, number: int) -> None:
        """Count an attempt on which the server or the engine has failed."""
        query = "UPDATE lines SET attempts = attempts + 1 WHERE batch = ? AND number = ?"
        await self._database.run(lambda database: database.execute(query, (id, number)).rowcount)

    async def finish_line(
        self,
        record: BatchRecord,
        line: WaitingLine,
        outcome: LineOutcome,
        answer: bytes,
        too_large: bytes,
    ) -> bool:
        """Keep the answer to a line; `too_large` in its place if there is no room for it.

        Return whether the batch goes on: another server may have cancelled it.
        """

        def write(database: sqlite3.Connection) -> bool:
            query = "SELECT bytes, status FROM batches WHERE id = ?"
            row = database.execute(query, (record.id,)).fetchone()
            if row is None:  # it was deleted
                return False
            more = len(answer) - len(line.request)
            room = self._database.has_room(database, record.owner, more)
            fits = room and row[0] + more <= _MAX_ANSWERS
            kept: tuple[LineOutcome, bytes] = (outcome, answer) if fits else ("errored", too_large)
            more = len(kept[1]) - len(line.request)
            changed = database.execute(
                "UPDATE lines SET outcome = ?, answer = ?, request = NULL "
                "WHERE batch = ? AND number = ? AND outcome IS NULL",
                (*kept, record.id, line.number),
            ).rowcount
            if changed:
                query = "UPDATE batches SET bytes = MAX(0, bytes + ?) WHERE id = ?"
                database.execute(query, (more, record.id))
            return bool(row[1] != "cancelling")

        return await self._database.run(write)

    async def answers(self, id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return the numbers and the answers of the next lines after the line `after`."""
        query = (
            "SELECT number, answer FROM lines WHERE batch = ? AND number > ? "
            "AND answer IS NOT NULL ORDER BY number LIMIT ?"
        )
        return await self._database.run(
            lambda database: database.execute(query, (id, after, limit)).fetchall()
        )

    async def finish(
        self,
        id: str,
        left: LineOutcome,
        answer: Callable[[str], bytes],
        change: Callable[[BatchRecord], None],
    ) -> BatchRecord:
        """End a batch in one transaction.

        Parameters
        ----------
        left
            How the lines end that are not answered.
        answer
            Return what is kept for one of them, from its `custom_id`.
        change
            Change the batch. Its counts are known then.
        """

        def write(database: sqlite3.Connection) -> BatchRecord:
            record = _locked(database, id)
            query = "SELECT number, custom_id FROM lines WHERE batch = ? AND outcome IS NULL"
            rows = [
                (left, answer(custom_id), id, number)
                for number, custom_id in database.execute(query, (id,)).fetchall()
            ]
            database.executemany(
                "UPDATE lines SET outcome = ?, answer = ?, request = NULL "
                "WHERE batch = ? AND number = ?",
                rows,
            )
            record.counts = _counts(database, id)
            if record.kind == "openai":
                _write_files(database, record)
            query = "SELECT COALESCE(SUM(LENGTH(answer)), 0) FROM lines WHERE batch = ?"
            (size,) = database.execute(query, (id,)).fetchone()
            database.execute("UPDATE batches SET bytes = ? WHERE id = ?", (size, id))
            change(record)
            _update(database, record)
            shrink(database)
            return record

        return await self._database.run(write)

    # --- servers ----------------------------------------------------------------------------------

    async def adopt(self, is_gone: Callable[[str], bool]) -> list[BatchRecord]:
        """Take over the batches that have not ended and whose server is gone.

        Parameters
        ----------
        is_gone
            Whether the server with this name runs no more.
        """

        def write(database: sqlite3.Connection) -> list[BatchRecord]:
            database.execute("BEGIN IMMEDIATE")
            query = (
                "SELECT id, holder, body FROM batches "  # noqa: S608
                f"WHERE holder != ? AND status NOT IN ({_ENDED}) ORDER BY number"
            )
            rows = database.execute(query, (self._holder,)).fetchall()
            gone = {holder: is_gone(holder) for holder in {row[1] for row in rows}}
            adopted = [(id, body) for id, holder, body in rows if gone[holder]]
            query = "UPDATE batches SET holder = ? WHERE id = ?"
            database.executemany(query, [(self._holder, id) for id, _ in adopted])
            return [_DECODER.decode(body) for _, body in adopted]

        return await self._database.run(write)


def _locked(database: sqlite3.Connection, id: str) -> BatchRecord:
    """Lock the file for a change, and return a batch."""
    database.execute("BEGIN IMMEDIATE")
    row = database.execute("SELECT body FROM batches WHERE id = ?", (id,)).fetchone()
    if row is None:  # its file was damaged, and is a new one now
        raise NotFound(f"There is no batch {id!r} any more.", code="batch_not_found")
    return _DECODER.decode(row[0])


def _update(database: sqlite3.Connection, record: BatchRecord) -> None:
    query = "UPDATE batches SET status = ?, body = ? WHERE id = ?"
    database.execute(query, (record.status, msgspec.json.encode(record), record.id))


def _size(lines: Iterable[WaitingLine]) -> int:
    return sum(len(line.request) for line in lines)


def _insert(database: sqlite3.Connection, id: str, lines: Iterable[WaitingLine]) -> None:
    database.executemany(
        "INSERT INTO lines (batch, number, custom_id, request) VALUES (?, ?, ?, ?)",
        [(id, line.number, line.custom_id, line.request) for line in lines],
    )


def _counts(database: sqlite3.Connection, id: str) -> OutcomeCounts:
    query = "SELECT outcome, COUNT(*) FROM lines WHERE batch = ? AND outcome IS NOT NULL GROUP BY 1"
    found: dict[str, Any] = dict(database.execute(query, (id,)).fetchall())
    return OutcomeCounts(**found)


def _counted(database: sqlite3.Connection, body: bytes) -> BatchRecord:
    record = _DECODER.decode(body)
    if not record.ended:
        record.counts = _counts(database, record.id)
    return record


def _write_files(database: sqlite3.Connection, record: BatchRecord) -> None:
    """Make the files of a batch from its answers, in place of its lines."""

    def write(which: str, name: str) -> str | None:
        query = f"SELECT answer FROM lines WHERE batch = ? AND outcome {which} ORDER BY number"  # noqa: S608
        content = b"".join(answer + b"\n" for (answer,) in database.execute(query, (record.id,)))
        if not content:
            return None
        new = NewFile(
            f"{record.id}_{name}.jsonl", "batch_output", content, seconds=record.keep_seconds
        )
        return add_file(database, record.owner, new).id

    record.output_file_id = write("= 'succeeded'", "output")
    record.error_file_id = write("!= 'succeeded'", "error")
    database.execute("DELETE FROM lines WHERE batch = ?", (record.id,))
