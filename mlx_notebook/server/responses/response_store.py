"""Store responses and their items in an SQLite file."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlx_notebook.server.errors import ApiError, InvalidRequest, Unavailable
from mlx_notebook.server.storage.sqlite_file import SqliteFile, shrink

# Prefix of the ids of responses. Chat completions (see `completion_store`) and conversations (see
# `stored_conversations`) are in the same table.
PREFIX = "resp_"

T = TypeVar("T")
Item = dict[str, Any]

_VERSION = 1
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    previous TEXT,
    touched REAL NOT NULL,
    bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (touched);
CREATE TABLE IF NOT EXISTS items (
    response TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    is_output INTEGER NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (response, position)
);
CREATE INDEX IF NOT EXISTS items_by_id ON items (id);
PRAGMA user_version = 1;
"""
# A response and those before it, newest first.
_CHAIN = """
WITH RECURSIVE chain (id, previous, depth) AS (
    SELECT id, previous, 0 FROM responses WHERE id = :id AND owner = :owner
    UNION ALL
    SELECT r.id, r.previous, depth + 1 FROM responses r
    JOIN chain ON r.id = chain.previous WHERE r.owner = :owner
)
"""
# A whole conversation counts as used, so that it does not lose its beginning.
_TOUCH = _CHAIN + "UPDATE responses SET touched = :now WHERE id IN (SELECT id FROM chain)"  # noqa: S608
_FIRST = _CHAIN + "SELECT previous FROM chain ORDER BY depth DESC LIMIT 1"  # noqa: S608
_ITEMS = (
    _CHAIN
    + """
SELECT body FROM items JOIN chain ON chain.id = items.response
WHERE :own_output OR depth > 0 OR NOT is_output ORDER BY depth DESC, position
"""
)
# Delete old responses. If the others take more than `:limit` bytes, delete of the users who have
# most, each one's least recently used first. So nobody loses anything because of another who
# stores more.
_PRUNE = """
DELETE FROM responses WHERE touched < :oldest OR id IN (
    SELECT id FROM (
        SELECT id, SUM(bytes) OVER (ORDER BY own, touched DESC, number DESC) AS total FROM (
            SELECT id, bytes, touched, rowid AS number, SUM(bytes) OVER (
                PARTITION BY owner ORDER BY touched DESC, rowid DESC
            ) AS own FROM responses
        )
    ) WHERE total > :limit
)
"""


class ResponseStore:
    """Store the responses of each user for a limited time.

    Parameters
    ----------
    file
        The database. It is created when it is first needed, readable by its user only.
    max_age
        Seconds after its last use until a response is deleted.
    max_bytes
        Size of all responses together. The least recently used ones of the users who have most are
        deleted first.
    log
        Logger for a database that cannot be used.
    """

    def __init__(self, file: Path, *, max_age: float, max_bytes: int, log: Logger) -> None:
        self.max_age = max_age
        self.max_bytes = max_bytes
        self._database = SqliteFile(
            file, _SCHEMA, version=_VERSION, what="stored responses", explain=_unusable, log=log
        )

    @property
    def enabled(self) -> bool:
        """Whether the settings allow to store responses."""
        return self.max_bytes > 0

    async def check(self) -> None:
        """Check that the database can be used.

        Raises
        ------
        Unavailable
            If it cannot. The message says why.
        """
        # Fetch all rows: an unfinished statement keeps a read lock, and then SQLite refuses a write
        # lock at once if another server writes.
        query = "SELECT 1 FROM responses LIMIT 1"
        await self.run(lambda database: database.execute(query).fetchall())

    async def require(self) -> None:
        """Check that responses can be stored.

        Raises
        ------
        Unavailable
            If they cannot. The message says why.
        """
        if not self.enabled:
            raise Unavailable(
                "This server stores no responses (MlxNotebookApp.responses_max_bytes is 0). "
                "Send store=false.",
                param="store",
                code="store_unavailable",
            )
        await self.check()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with the database, in one transaction, and return its result.

        Raises
        ------
        Unavailable
            If the database cannot be used.
        """
        return await self._database.run(work)

    async def save(
        self,
        owner: str,
        id: str,
        previous: str | None,
        body: bytes,
        input_items: Sequence[Item],
        output: Sequence[Item],
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Store a response as JSON, with its input and output items.

        `also` is called with the database in the same transaction.

        Raises
        ------
        Unavailable
            If the database cannot be written.
        """
        items = [(False, item) for item in input_items] + [(True, item) for item in output]
        rows = [
            (id, position, is_output, item.get("id", ""), msgspec.json.encode(item))
            for position, (is_output, item) in enumerate(items)
        ]
        size = len(body) + sum(len(row[-1]) for row in rows)
        now = time.time()

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?)",
                (id, owner, previous, now, size, body),
            )
            database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
            if also is not None:
                also(database)
            self.prune(database)

        await self.run(write)

    def prune(self, database: sqlite3.Connection) -> None:
        """Delete what is too old, or more than fits."""
        database.execute(_PRUNE, {"oldest": self._oldest(), "limit": self.max_bytes})
        shrink(database)

    async def get(self, owner: str, id: str) -> bytes | None:
        """Return a response of this user as JSON, None if there is none with this id."""

        def read(database: sqlite3.Connection) -> bytes | None:
            query = "SELECT body FROM responses WHERE id = ? AND owner = ? AND touched >= ?"
            row = database.execute(query, (id, owner, self._oldest())).fetchone()
            return row[0] if row else None

        return await self.run(read)

    async def delete(self, owner: str, id: str) -> bool:
        """Delete a response. Return whether this user had it."""
        query = "DELETE FROM responses WHERE id = ? AND owner = ?"
        return await self._database.run(
            lambda database: database.execute(query, (id, owner)).rowcount > 0, frees=True
        )

    async def conversation(self, owner: str, id: str) -> list[Item]:
        """Return all items up to and including a response, which count as used now.

        Raises
        ------
        InvalidRequest
            If the user has no such response, or one before it was deleted.
        """

        def read(database: sqlite3.Connection) -> list[Item]:
            self._require_whole_chain(database, owner, id)
            database.execute(_TOUCH, {"id": id, "owner": owner, "now": time.time()})
            return _items(database, owner, id, own_output=True)

        return await self.run(read)

    async def input_items(self, owner: str, id: str) -> list[Item]:
        """Return the input items of a response and of those before it, oldest first."""
        return await self.run(lambda database: _items(database, owner, id, own_output=False))

    async def find_items(self, owner: str, ids: Sequence[str]) -> dict[str, Item]:
        """Return the items with these ids that this user has."""
        query = (
            "SELECT items.body FROM items JOIN responses ON responses.id = items.response "
            "WHERE items.id = ? AND owner = ? AND touched >= ? LIMIT 1"
        )

        def read(database: sqlite3.Connection) -> dict[str, Item]:
            rows = {
                id: database.execute(query, (id, owner, self._oldest())).fetchone() for id in ids
            }
            return {id: msgspec.json.decode(row[0]) for id, row in rows.items() if row}

        return await self.run(read)

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    def _oldest(self) -> float:
        return time.time() - self.max_age

    def _require_whole_chain(self, database: sqlite3.Connection, owner: str, id: str) -> None:
        row = database.execute(_FIRST, {"id": id, "owner": owner}).fetchone()
        if row is None:
            raise previous_not_found(id)
        if row[0] is not None:
            raise InvalidRequest(
                f"The conversation before {id!r} is incomplete: {row[0]!r} was deleted. Send its "
                "items as input instead.",
                param="previous_response_id",
                code="previous_response_not_found",
            )


def _unusable(error: Exception) -> Unavailable:
    return Unavailable(
        f"The stored responses cannot be used: {error}. Send store=false, or check the free space "
        "and the rights of Jupyter's data directory.",
        code="store_unavailable",
    )


def previous_not_found(id: str) -> ApiError:
    """Return the error for a `previous_response_id` that the user does not have."""
    return InvalidRequest(
        f"There is no stored response {id[:200]!r} to continue from.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def _items(database: sqlite3.Connection, owner: str, id: str, *, own_output: bool) -> list[Item]:
    rows = database.execute(_ITEMS, {"id": id, "owner": owner, "own_output": own_output})
    return [msgspec.json.decode(body) for (body,) in rows]
