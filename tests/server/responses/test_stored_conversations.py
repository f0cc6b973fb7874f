import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.responses.response_store import ResponseStore
from mlx_notebook.server.responses.stored_conversations import ItemQuery, StoredConversations

DAY = 24 * 3600.0


def said(id: str, pad: int = 0) -> dict[str, Any]:
    return {"type": "message", "id": id, "role": "user", "content": "Hi" + " " * pad}


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def in_store(
    folder: Path, story: Callable[[StoredConversations], Awaitable[None]], **limits: Any
) -> None:
    """Run a story with a store of its own."""

    async def run() -> None:
        given: dict[str, Any] = {"max_age": DAY, "max_bytes": 1 << 20, **limits}
        store = ResponseStore(folder / "r.sqlite3", log=logging.getLogger("test"), **given)
        try:
            await story(StoredConversations(store))
        finally:
            await store.close()

    asyncio.run(run())


async def code_of(work: Awaitable[Any]) -> str:
    with pytest.raises(ApiError) as caught:
        await work
    return caught.value.code


def test_items_keep_their_order_and_come_in_pages(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [said("msg_0")], {"topic": "a"})
        await stored.add("ann", made.id, [said("msg_1"), said("msg_2")])
        assert ids(await stored.items("ann", made.id)) == ["msg_0", "msg_1", "msg_2"]
        newest = await stored.page("ann", made.id, ItemQuery(2))
        assert ids(newest) == ["msg_2", "msg_1", "msg_0"]
        after = ItemQuery(5, descending=False, after="msg_0")
        assert ids(await stored.page("ann", made.id, after)) == ["msg_1", "msg_2"]
        await stored.delete_item("ann", made.id, "msg_1")
        await stored.add("ann", made.id, [said("msg_3")])
        assert ids(await stored.items("ann", made.id)) == ["msg_0", "msg_2", "msg_3"]
        assert (await stored.get("ann", made.id)).metadata == {"topic": "a"}
        assert (await stored.update("ann", made.id, {})).metadata == {}
        assert (await stored.get("ann", made.id)).metadata == {}

    in_store(tmp_path, story)


def test_a_conversation_is_its_users_own(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [said("msg_0")], {})
        for work in (
            stored.get("bob", made.id),
            stored.update("bob", made.id, {}),
            stored.items("bob", made.id),
            stored.page("bob", made.id, ItemQuery(1)),
            stored.item("bob", made.id, "msg_0"),
            stored.add("bob", made.id, [said("msg_1")]),
            stored.delete_item("bob", made.id, "msg_0"),
            stored.delete("bob", made.id),
        ):
            assert await code_of(work) == "conversation_not_found"
        assert ids(await stored.items("ann", made.id)) == ["msg_0"]
        await stored.delete("ann", made.id)
        assert await code_of(stored.get("ann", made.id)) == "conversation_not_found"

    in_store(tmp_path, story)


def test_an_item_that_is_sent_again_gets_an_id_of_its_own(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [said("msg_0"), said("msg_0")], {})
        first, second = ids(await stored.items("ann", made.id))
        assert first == "msg_0"
        assert second.startswith("msg_")
        assert second != first
        assert await code_of(stored.item("ann", made.id, "msg_none")) == "item_not_found"

    in_store(tmp_path, story)


def test_a_full_conversation_takes_no_more(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [], {})
        assert (
            await code_of(stored.add("ann", made.id, [said("msg_0", 1 << 18)]))
            == "conversation_full"
        )
        # What a response has said is kept, and the next one is refused.
        keep = stored.addition("ann", made.id, [said("msg_1", 1 << 18)])
        await stored._store.run(keep)
        assert await code_of(stored.items("ann", made.id)) == "conversation_full"
        assert ids(await stored.page("ann", made.id, ItemQuery(5))) == ["msg_1"]
        await stored.delete_item("ann", made.id, "msg_1")
        assert await stored.items("ann", made.id) == []

    in_store(tmp_path, story)


def test_what_a_deleted_conversation_would_get_is_left_out(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [], {})
        addition = stored.addition("ann", made.id, [said("msg_0")])
        await stored.delete("ann", made.id)
        await stored._store.run(addition)
        assert await code_of(stored.get("ann", made.id)) == "conversation_not_found"

    in_store(tmp_path, story)


def test_an_old_conversation_is_gone(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        made = await stored.create("ann", [], {})
        stored._store.max_age = -1
        assert await code_of(stored.get("ann", made.id)) == "conversation_not_found"

    in_store(tmp_path, story)


def test_a_server_without_a_store_says_so(tmp_path: Path) -> None:
    async def story(stored: StoredConversations) -> None:
        assert await code_of(stored.create("ann", [], {})) == "store_unavailable"
        assert await code_of(stored.get("ann", "conv_1")) == "conversation_not_found"

    in_store(tmp_path, story, max_bytes=0)
