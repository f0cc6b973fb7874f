"""Keep conversations in an SQLite file."""

import math
import sqlite3
import time
from logging import Logger
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from mlx_notebook.server.errors import (
    ApiError,
    Conflict,
    InsufficientStorage,
    NotFound,
    Unavailable,
)
from mlx_notebook.server.storage.sqlite_file import SqliteFile, is_full, shrink
from mlx_notebook.server.wire.native.conversation_types import (
    ConversationChange,
    ConversationSummary,
    ConversationUpload,
    VersionedConversation,
)

_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS conversations (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    notebook TEXT NOT NULL,
    title TEXT NOT NULL,
    changed REAL NOT NULL,
    bytes INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (owner, id)
);
CREATE INDEX IF NOT EXISTS conversations_by_age ON conversations (owner, changed);
PRAGMA user_version = 1;
"""
_SAVE = """
INSERT INTO conversations (owner, id, notebook, title, changed, bytes, content)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (owner, id) DO UPDATE SET notebook = excluded.notebook, title = excluded.title,
    changed = excluded.changed, bytes = excluded.bytes, content = excluded.content
"""
_GET = "SELECT notebook, title, changed, content FROM conversations WHERE owner = ? AND id = ?"
_CHANGED = "SELECT changed FROM conversations WHERE owner = ? AND id = ?"
_LIST = """
SELECT id, notebook, title, changed, bytes FROM conversations
WHERE owner = :owner AND (:notebook IS NULL OR notebook = :notebook) ORDER BY changed DESC, id
"""
_OTHERS = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM conversations WHERE owner = ? AND id != ?"


class ConversationStore:
    """Keep the conversations of each user until the user deletes them.

    Parameters
    ----------
    file
        The database. It is created when it is first needed, readable by its user only.
    max_bytes
        Size of all conversations of a user together, in bytes.
    max_count
        Most conversations of a user.
    log
        Logger for a database that cannot be used.
    """

    def __init__(self, file: Path, *, max_bytes: int, max_count: int, log: Logger) -> None:
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._database = SqliteFile(
            file, _SCHEMA, version=1, what="conversations", explain=_unusable, log=log
        )

    async def list(self, owner: str, notebook: str | None) -> list[ConversationSummary]:
        """Return the conversations of a user, of one notebook or of all, newest first."""
        named = {"owner": owner, "notebook": notebook}
        rows = await self._database.run(lambda database: database.execute(_LIST, named).fetchall())
        return [_summary(row) for row in rows]

    async def get(self, owner: str, id: str) -> VersionedConversation:
        """Return a conversation.

        Raises
        ------
        NotFound
            If the user has none with this id.
        """
        row = await self._database.run(
            lambda database: database.execute(_GET, (owner, id)).fetchone()
        )
        if row is None:
            raise _not_found(id)
        notebook, title, changed, content = row
        return VersionedConversation(
            notebook=notebook, title=title, changed=changed, content=msgspec.Raw(content)
        )

    async def save(self, owner: str, id: str, saved: ConversationUpload) -> ConversationSummary:
        """Save a conversation, in place of what was saved with this id before.

        Raises
        ------
        Conflict
            If another one was saved than the one that this one is based on.
        InsufficientStorage
            If the user's conversations would be too many, or too large together.
        Unavailable
            If the settings allow none.
        """
        if not self._max_bytes:
            raise Unavailable(
                "This server saves no conversations (MlxNotebookApp.conversations_max_bytes is 0).",
                code="conversations_unavailable",
            )
        content = bytes(saved.content)

        def write(database: sqlite3.Connection) -> float:
            # Another server of this user must not write between the comparison and the change.
            database.execute("BEGIN IMMEDIATE")
            found = database.execute(_CHANGED, (owner, id)).fetchone()
            changed = found[0] if found else None
            if saved.based_on is not UNSET and saved.based_on != changed:
                raise _conflict(id, is_there=found is not None)
            count, size = database.execute(_OTHERS, (owner, id)).fetchone()
            if count >= self._max_count or size + len(content) > self._max_bytes:
                raise InsufficientStorage(
                    f"The saved conversations are at most {self._max_count:,} and have at most "
                    f"{self._max_bytes / 1e6:,.0f} MB together (MlxNotebookApp.conversations_"
                    "max_bytes). Delete some of them.",
                    code="too_many_conversations",
                )
            now = time.time()
            if changed is not None:
                # Two versions never have the same time, whatever the clock does.
                now = max(now, math.nextafter(changed, math.inf))
            row = (owner, id, saved.notebook, saved.title, now, len(content), content)
            database.execute(_SAVE, row)
            shrink(database)
            return now

        now = await self._database.run(write)
        return ConversationSummary(
            id=id, notebook=saved.notebook, title=saved.title, changed=now, bytes=len(content)
        )

    async def change(self, owner: str, id: str, change: ConversationChange) -> ConversationSummary:
        """Change the title of a conversation or its notebook.

        Raises
        ------
        NotFound
            If the user has none with this id.
        """
        named = {
            "owner": owner,
            "id": id,
            "notebook": None if change.notebook is UNSET else change.notebook,
            "title": None if change.title is UNSET else change.title,
        }
        query = """
        UPDATE conversations SET notebook = COALESCE(:notebook, notebook),
            title = COALESCE(:title, title)
        WHERE owner = :owner AND id = :id RETURNING id, notebook, title, changed, bytes
        """
        rows = await self._database.run(lambda database: database.execute(query, named).fetchall())
        if not rows:
            raise _not_found(id)
        return _summary(rows[0])

    async def delete(self, owner: str, id: str) -> None:
        """Delete a conversation.

        Raises
        ------
        NotFound
            If the user has none with this id.
        """
        query = "DELETE FROM conversations WHERE owner = ? AND id = ?"

        def drop(database: sqlite3.Connection) -> int:
            deleted = database.execute(query, (owner, id)).rowcount
            shrink(database)
            return deleted

        if not await self._database.run(drop, frees=True):
            raise _not_found(id)


def _summary(row: tuple[Any, ...]) -> ConversationSummary:
    id, notebook, title, changed, size = row
    return ConversationSummary(id=id, notebook=notebook, title=title, changed=changed, bytes=size)


def _unusable(error: Exception) -> ApiError:
    if is_full(error):
        return InsufficientStorage(
            "The disk with the server's data directory is full. Delete conversations, or make room "
            "on the disk."
        )
    return Unavailable(
        f"Conversations cannot be kept in the server's data directory: {error}.",
        code="conversations_unavailable",
    )


def _conflict(id: str, *, is_there: bool) -> Conflict:
    what = "was changed" if is_there else "was deleted"
    return Conflict(
        f"The conversation {id!r} {what} elsewhere. Load it, and save what you add to it.",
        param="based_on",
        code="conversation_changed",
    )


def _not_found(id: str) -> NotFound:
    return NotFound(
        f"There is no conversation {id!r}. mlx/conversations lists them.",
        code="conversation_not_found",
    )
