"""Files of users: kept, listed in pages, limited, and gone when their time is over."""

import logging
import time
from pathlib import Path

import pytest

from mlx_notebook.server.batches import file_store
from mlx_notebook.server.batches.batch_database import BatchDatabase
from mlx_notebook.server.batches.file_store import FileStore, NewFile
from mlx_notebook.server.errors import InsufficientStorage, NotFound, Unavailable

pytestmark = pytest.mark.anyio


def store_in(folder: Path, max_bytes: int = 1000) -> FileStore:
    log = logging.getLogger("test")
    return FileStore(BatchDatabase(folder / "it.sqlite3", max_bytes=max_bytes, log=log))


def new(content: bytes = b"{}", seconds: int | None = None) -> NewFile:
    return NewFile("a.jsonl", "batch", content, seconds)


async def ids(store: FileStore, owner: str, after: str = "", limit: int = 10) -> list[str]:
    page = await store.page(owner, purpose="", after=after, limit=limit, descending=False)
    assert page is not None
    return [file.id for file in page]


async def test_a_file_is_found_again_by_its_user_only(tmp_path: Path) -> None:
    made = await store_in(tmp_path).create("ann", new(b"\x00\xffdata"))
    store = store_in(tmp_path)
    assert await store.get("ann", made.id) == made
    assert await store.content("ann", made.id) == (made, b"\x00\xffdata")
    assert made.bytes == 6
    assert await ids(store, "bob") == []
    for refused in (
        store.get("bob", made.id),
        store.content("bob", made.id),
        store.delete("bob", made.id),
    ):
        with pytest.raises(NotFound):
            await refused
    await store.delete("ann", made.id)
    with pytest.raises(NotFound):
        await store.get("ann", made.id)


async def test_pages_begin_after_a_file_and_tell_of_more(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = [(await store.create("ann", new())).id for _ in range(4)]
    assert await ids(store, "ann", limit=2) == made[:3]
    assert await ids(store, "ann", after=made[1]) == made[2:]
    newest = await store.page("ann", purpose="batch", after=made[2], limit=1, descending=True)
    assert newest is not None
    assert [file.id for file in newest] == [made[1], made[0]]
    none = await store.page("ann", purpose="user_data", after="", limit=9, descending=True)
    assert none == []
    assert await store.page("bob", purpose="", after=made[0], limit=9, descending=True) is None


async def test_what_a_user_keeps_has_limits_which_another_does_not_feel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    await store.create("ann", new(b"x" * 900))
    with pytest.raises(InsufficientStorage, match="files_max_bytes"):
        await store.create("ann", new(b"x" * 101))
    await store.create("ann", new(b"x" * 100))
    await store.create("bob", new(b"x" * 900))
    monkeypatch.setattr(file_store, "_MAX_FILES", 1)
    with pytest.raises(InsufficientStorage, match="may have 1 files"):
        await store.create("bob", new())
    with pytest.raises(Unavailable, match="files_max_bytes is 0"):
        await store_in(tmp_path, max_bytes=0).create("ann", new())


async def test_a_file_whose_time_is_over_is_gone_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    made = await store.create("ann", new(b"x" * 900, seconds=3600))
    assert made.expires_at == made.created_at + 3600
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(NotFound):
        await store.get("ann", made.id)
    assert await ids(store, "ann") == []
    await store.create("ann", new(b"x" * 900))
