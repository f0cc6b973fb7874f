"""A file of SQLite: what is deleted gives its room back, and that works on a full disk too."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlx_notebook.server.errors import InsufficientStorage
from mlx_notebook.server.storage.sqlite_file import SqliteFile, is_full, shrink

pytestmark = pytest.mark.anyio
SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS things (content BLOB NOT NULL);
PRAGMA user_version = 1;
"""


class DiskFull(sqlite3.OperationalError):
    """What SQLite raises where the disk has no room for its journal."""

    sqlite_errorcode = sqlite3.SQLITE_FULL


def store_at(file: Path) -> SqliteFile:
    def explain(error: Exception) -> InsufficientStorage:
        assert is_full(error)
        return InsufficientStorage("full")

    log = logging.getLogger("test")
    return SqliteFile(file, SCHEMA, version=1, what="things", explain=explain, log=log)


def add(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO things VALUES (?)", (b"x" * 400_000,))


def remove(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM things")
    shrink(database)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    made = store_at(tmp_path / "things.sqlite3")
    yield made
    await made.close()


async def test_what_is_deleted_gives_its_room_back(store: SqliteFile, tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite3"
    await store.run(add)
    full = file.stat().st_size
    await store.run(remove)
    assert file.stat().st_size < full - 350_000


async def test_only_what_frees_room_works_on_a_full_disk(store: SqliteFile) -> None:
    journals = []

    def delete(database: sqlite3.Connection) -> str:
        (journal,) = database.execute("PRAGMA journal_mode").fetchone()
        journals.append(journal)
        if journal != "memory":
            raise DiskFull("database or disk is full")
        remove(database)
        return "deleted"

    await store.run(add)
    with pytest.raises(InsufficientStorage) as caught:
        await store.run(delete)
    # A client that sent it again would send the whole file again.
    assert caught.value.headers == {"x-should-retry": "false"}
    assert await store.run(delete, frees=True) == "deleted"
    assert journals == ["delete", "delete", "memory"]
    query = "SELECT COUNT(*) FROM things"
    assert await store.run(lambda database: database.execute(query).fetchone()) == (0,)
    mode = "PRAGMA journal_mode"
    assert await store.run(lambda database: database.execute(mode).fetchone()) == ("delete",)


async def test_a_file_is_opened_without_writing(store: SqliteFile, tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite3"
    await store.run(add)
    before = file.stat().st_mtime_ns
    second = store_at(file)
    query = "SELECT COUNT(*) FROM things"
    assert await second.run(lambda database: database.execute(query).fetchone()) == (1,)
    await second.close()
    assert file.stat().st_mtime_ns == before
