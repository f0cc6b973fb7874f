import logging
import stat
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from mlx_notebook.server.conversations.conversation_store import ConversationStore
from mlx_notebook.server.errors import Conflict, InsufficientStorage, NotFound, Unavailable
from mlx_notebook.server.wire.native.conversation_types import (
    ConversationChange,
    ConversationUpload,
)

pytestmark = pytest.mark.anyio


def store_in(folder: Path, max_bytes: int = 1000, max_count: int = 3) -> ConversationStore:
    log = logging.getLogger("test")
    return ConversationStore(
        folder / "data" / "it.sqlite3", max_bytes=max_bytes, max_count=max_count, log=log
    )


def saved(
    content: str = "1",
    notebook: str = "a.ipynb",
    title: str = "One",
    based_on: float | UnsetType | None = UNSET,
) -> ConversationUpload:
    return ConversationUpload(
        notebook=notebook,
        title=title,
        content=msgspec.Raw(content.encode()),
        based_on=based_on,
    )


async def test_a_conversation_is_found_again_changed_and_deleted(tmp_path: Path) -> None:
    await store_in(tmp_path).save("ann", "x", saved('{"entries": ["ä"]}'))
    store = store_in(tmp_path)
    await store.save("ann", "y", saved(notebook="b.ipynb"))
    assert [one.id for one in await store.list("ann", None)] == ["y", "x"]
    assert [one.id for one in await store.list("ann", "a.ipynb")] == ["x"]
    changed = await store.change("ann", "x", ConversationChange(title="New"))
    assert (changed.title, changed.notebook) == ("New", "a.ipynb")
    await store.change("ann", "x", ConversationChange(notebook="moved.ipynb"))
    found = await store.get("ann", "x")
    assert msgspec.json.decode(found.content) == {"entries": ["ä"]}
    assert (found.title, found.notebook) == ("New", "moved.ipynb")
    await store.delete("ann", "x")
    with pytest.raises(NotFound):
        await store.get("ann", "x")
    # Nobody else on the machine reads what was said.
    assert stat.S_IMODE((tmp_path / "data" / "it.sqlite3").stat().st_mode) == 0o600


async def test_what_another_page_has_saved_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two versions differ, also if the clock stands still.
    monkeypatch.setattr("time.time", lambda: 7.0)
    store = store_in(tmp_path)
    first = await store.save("ann", "x", saved("1", based_on=None))
    second = await store.save("ann", "x", saved("2", based_on=first.changed))
    for stale in (None, first.changed):
        with pytest.raises(Conflict, match="changed elsewhere"):
            await store.save("ann", "x", saved("3", based_on=stale))
    found = await store.get("ann", "x")
    assert (bytes(found.content), found.changed) == (b"2", second.changed)
    await store.change("ann", "x", ConversationChange(title="A title is no version"))
    await store.save("ann", "x", saved("4", based_on=second.changed))
    await store.delete("ann", "x")
    with pytest.raises(Conflict, match="deleted elsewhere"):
        await store.save("ann", "x", saved("5", based_on=second.changed))


async def test_each_user_has_their_own(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.save("ann", "x", saved('"secret"'))
    await store.save("bob", "x", saved('"mine"'))
    assert bytes((await store.get("ann", "x")).content) == b'"secret"'
    await store.delete("bob", "x")
    assert await store.list("bob", None) == []
    for refused in (store.get("bob", "x"), store.delete("bob", "x")):
        with pytest.raises(NotFound):
            await refused


async def test_what_is_kept_has_limits_and_what_is_kept_may_be_saved_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for id in "abc":
        await store.save("ann", id, saved())
    with pytest.raises(InsufficientStorage, match="Delete some"):
        await store.save("ann", "d", saved())
    with pytest.raises(InsufficientStorage):
        await store.save("ann", "a", saved(f'"{"x" * 1000}"'))
    await store.save("ann", "a", saved(f'"{"x" * 900}"'))
    await store.save("bob", "d", saved())
    with pytest.raises(Unavailable, match="conversations_max_bytes is 0"):
        await store_in(tmp_path, max_bytes=0).save("ann", "e", saved())


async def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(Unavailable, match="cannot be kept"):
        await store_in(tmp_path).list("ann", None)


async def test_what_is_deleted_or_gets_shorter_gives_its_room_back(tmp_path: Path) -> None:
    store, file = store_in(tmp_path, max_bytes=10**6), tmp_path / "data" / "it.sqlite3"
    long = saved(f'"{"x" * 400_000}"')
    for id in "ab":
        await store.save("ann", id, long)
    assert file.stat().st_size > 800_000
    await store.delete("ann", "a")
    assert file.stat().st_size < 450_000
    await store.save("ann", "b", saved("1"))
    assert file.stat().st_size < 50_000
