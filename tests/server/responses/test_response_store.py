import asyncio
import logging
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_notebook.server.errors import InvalidRequest, Unavailable
from mlx_notebook.server.responses.response_store import ResponseStore

ASKED = [{"type": "message", "id": "msg_1", "role": "user", "content": "Hi"}]
SAID = [{"type": "message", "id": "msg_2", "role": "assistant", "content": "Hello"}]
DAY = 24 * 3600.0


@asynccontextmanager
async def opened(
    file: Path, *, max_age: float = DAY, max_bytes: int = 1 << 20
) -> AsyncIterator[ResponseStore]:
    store = ResponseStore(file, max_age=max_age, max_bytes=max_bytes, log=logging.getLogger("test"))
    try:
        yield store
    finally:
        await store.close()


async def save(
    store: ResponseStore, id: str, *, owner: str = "ann", previous: str | None = None, pad: int = 0
) -> None:
    given = [{**ASKED[0], "id": f"in_{id}"}]
    output = [{**SAID[0], "id": f"out_{id}"}]
    body = b'{"id":"%b"}' % id.encode() + b" " * pad
    await store.save(owner, id, previous, body, given, output)


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_a_response_is_there_for_its_user_only(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path / "data" / "responses.sqlite3") as store:
            await save(store, "a")
            assert await store.get("ann", "a") == b'{"id":"a"}'
            assert await store.get("bob", "a") is None
            assert await store.input_items("bob", "a") == []
            assert await store.find_items("bob", ["in_a"]) == {}
            assert not await store.delete("bob", "a")
            with pytest.raises(InvalidRequest, match="no stored response 'a'"):
                await store.conversation("bob", "a")
            assert await store.delete("ann", "a")
            assert await store.get("ann", "a") is None
            assert await store.find_items("ann", ["in_a", "out_a"]) == {}

    asyncio.run(story())


def test_a_conversation_goes_back_to_its_beginning(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path / "responses.sqlite3") as store:
            await save(store, "a")
            await save(store, "b", previous="a")
            await save(store, "c", previous="b")
            turns = ["in_a", "out_a", "in_b", "out_b", "in_c"]
            assert ids(await store.conversation("ann", "c")) == [*turns, "out_c"]
            assert ids(await store.input_items("ann", "c")) == turns
            found = await store.find_items("ann", ["out_b", "none"])
            assert list(found) == ["out_b"]
            await store.delete("ann", "a")
            with pytest.raises(InvalidRequest, match="'a' was deleted"):
                await store.conversation("ann", "c")

    asyncio.run(story())


def test_a_response_outlives_its_store(tmp_path: Path) -> None:
    file = tmp_path / "mlx_notebook" / "responses.sqlite3"

    async def write() -> None:
        async with opened(file) as store:
            await save(store, "a")

    async def read() -> bytes | None:
        async with opened(file) as store:
            return await store.get("ann", "a")

    asyncio.run(write())
    assert asyncio.run(read()) == b'{"id":"a"}'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_was_not_used_for_long_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr("mlx_notebook.server.responses.response_store.time", clock)

    async def story() -> None:
        nonlocal now
        async with opened(tmp_path / "responses.sqlite3", max_age=30) as store:
            await save(store, "old")
            await save(store, "used")
            now += 20
            await store.conversation("ann", "used")
            now += 15
            assert await store.get("ann", "old") is None
            assert await store.get("ann", "used") is not None
            await save(store, "new")
            assert await store.find_items("ann", ["in_old"]) == {}

    asyncio.run(story())


def test_the_longest_unused_go_when_the_room_is_full(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "responses.sqlite3"
        async with opened(file, max_bytes=40_000) as store:
            for number in range(8):
                await save(store, f"r{number}", pad=10_000)
                if number == 2:
                    await store.conversation("ann", "r0")
            kept = [n for n in range(8) if await store.get("ann", f"r{n}") is not None]
            assert kept == [5, 6, 7]
            assert file.stat().st_size < 150_000

    asyncio.run(story())


def test_a_user_who_stores_much_pushes_out_their_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path / "responses.sqlite3", max_bytes=40_000) as store:
            await save(store, "of bob", owner="bob", pad=5_000)
            for number in range(8):
                await save(store, f"r{number}", pad=10_000)
            assert await store.get("bob", "of bob") is not None
            kept = [n for n in range(8) if await store.get("ann", f"r{n}") is not None]
            assert kept == [5, 6, 7]

    asyncio.run(story())


def test_a_broken_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "responses.sqlite3"
    file.write_bytes(b"this is no database" * 100)

    async def story() -> None:
        async with opened(file) as store:
            await save(store, "a")
            assert await store.get("ann", "a") is not None

    asyncio.run(story())
    [aside] = tmp_path.glob("responses.broken-*")
    assert aside.read_bytes().startswith(b"this is no database")
    assert "is damaged" in caplog.text


def overwrite(file: Path) -> None:
    file.write_bytes(b"this is no database" * 1000)


def replace(file: Path) -> None:
    other = file.with_name("other")
    overwrite(other)
    other.rename(file)


@pytest.mark.parametrize(
    "spoil", [overwrite, replace, Path.unlink, lambda file: file.write_bytes(b"")]
)
def test_a_file_that_is_spoilt_while_it_is_open_heals_by_itself(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    file = tmp_path / "responses.sqlite3"

    async def story() -> None:
        async with opened(file) as store, opened(file) as other:
            await save(store, "a")
            await save(other, "b")
            spoil(file)
            await save(store, "c")
            assert await store.get("ann", "c") is not None
            assert await other.get("ann", "c") is not None
            await save(other, "d")
            assert await store.get("ann", "d") is not None
            assert await store.get("ann", "a") is None

    asyncio.run(story())
    assert len(list(tmp_path.glob("responses.broken-*"))) <= 1


def test_looking_whether_it_works_holds_up_no_other_server(tmp_path: Path) -> None:
    """A reader's lock that is kept makes SQLite refuse the next write, where two servers write."""
    file = tmp_path / "responses.sqlite3"
    kept: list[object] = []

    async def story() -> None:
        async with opened(file) as store:
            await save(store, "a")
            run = store.run

            async def watched(work: Callable[[sqlite3.Connection], Any]) -> Any:
                def watch(database: sqlite3.Connection) -> Any:
                    kept.append(work(database))
                    with sqlite3.connect(file, timeout=0) as other:
                        other.execute("BEGIN EXCLUSIVE")
                    return kept[-1]

                return await run(watch)

            store.run = watched  # type: ignore[method-assign]
            await store.check()

    asyncio.run(story())
    assert kept


def test_two_servers_store_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "responses.sqlite3"

    async def one(store: ResponseStore, name: str) -> None:
        for number in range(40):
            await store.check()
            await save(store, f"{name}{number}", pad=5000)
            await store.conversation("ann", f"{name}{number}")

    async def story() -> None:
        async with opened(file) as store, opened(file) as other:
            await asyncio.gather(one(store, "a"), one(other, "b"))
            for number in range(40):
                assert await store.get("ann", f"b{number}") is not None

    asyncio.run(story())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")

    async def story() -> None:
        async with opened(tmp_path / "data" / "responses.sqlite3") as store:
            with pytest.raises(Unavailable, match="store=false"):
                await store.check()

    asyncio.run(story())
