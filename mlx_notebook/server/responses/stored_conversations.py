"""Store conversations, in the same file and with the same limits as responses.

A conversation is a row of the table of responses, and its items are rows of the table of items.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mlx_notebook.server.errors import ApiError, InvalidRequest, NotFound, Unavailable
from mlx_notebook.server.responses.response_store import Item, ResponseStore
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.responses.conversation_object import STORED, StoredConversation

T = TypeVar("T")

PREFIX = "conv_"
MOST_ITEMS = 10_000

_GET = (
    "SELECT body FROM responses WHERE id = :id AND owner = :owner AND touched >= :oldest "
    "AND substr(id, 1, 5) = 'conv_'"
)
_TOUCH = "UPDATE responses SET touched = :now WHERE id = :id AND owner = :owner"
_UPDATE = (
    "UPDATE responses SET body = :body, bytes = bytes - length(body) + :size, touched = :now "
    "WHERE id = :id AND owner = :owner"
)
_SIZE = (
    "SELECT bytes, (SELECT COUNT(*) FROM items WHERE response = :id), "
    "(SELECT COALESCE(MAX(position) + 1, 0) FROM items WHERE response = :id) "
    "FROM responses WHERE id = :id AND owner = :owner"
)
_PAGE = "SELECT body FROM items WHERE response = :id"
_POSITION = "(SELECT position FROM items WHERE response = :id AND id = :after)"
_ITEM = "SELECT position, body FROM items WHERE response = ? AND id = ?"


class ItemQuery(Struct):
    """Ask for a page of items. `after` is the id of the item before the page."""

    limit: int
    descending: bool = True
    after: str = ""


class StoredConversations:
    """Store the conversations of each user.

    Parameters
    ----------
    store
        Store that holds their file.
    """

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def create(
        self, owner: str, items: Sequence[Item], metadata: dict[str, str]
    ) -> StoredConversation:
        """Store a new conversation, and return it.

        Raises
        ------
        ApiError
            If the items are too large, or it cannot be written.
        """
        if not self._store.enabled:
            raise Unavailable(
                "This server stores no conversations (MlxNotebookApp.responses_max_bytes is 0).",
                code="store_unavailable",
            )
        conversation = StoredConversation(new_id(PREFIX), now(), metadata)
        self._require_room(conversation.id, 0, 0, items)
        body = msgspec.json.encode(conversation)
        added = self.addition(owner, conversation.id, items)
        await self._store.save(owner, conversation.id, None, body, [], [], added)
        return conversation

    async def get(self, owner: str, id: str) -> StoredConversation:
        """Return a conversation.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        return await self._run(owner, id, lambda database, conversation: conversation)

    async def update(self, owner: str, id: str, metadata: dict[str, str]) -> StoredConversation:
        """Replace the metadata of a conversation, and return it.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """

        def write(
            database: sqlite3.Connection, conversation: StoredConversation
        ) -> StoredConversation:
            conversation.metadata = metadata
            body = msgspec.json.encode(conversation)
            values = {"body": body, "size": len(body), "id": id, "owner": owner}
            database.execute(_UPDATE, {**values, "now": time.time()})
            return conversation

        return await self._run(owner, id, write)

    async def delete(self, owner: str, id: str) -> None:
        """Delete a conversation with its items.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        has = self._store.enabled and id.startswith(PREFIX)
        if not (has and await self._store.delete(owner, id)):
            raise not_found(id)

    async def items(self, owner: str, id: str) -> list[Item]:
        """Return all items of a conversation, which counts as used now.

        Raises
        ------
        ApiError
            If this user has no such conversation, or it is full.
        """

        def read(database: sqlite3.Connection, _: StoredConversation) -> list[Item]:
            size, count, _next = database.execute(_SIZE, {"id": id, "owner": owner}).fetchone()
            self._require_room(id, size, count, [])
            database.execute(_TOUCH, {"id": id, "owner": owner, "now": time.time()})
            return _decoded(database, f"{_PAGE} ORDER BY position", {"id": id})

        return await self._run(owner, id, read)

    async def page(self, owner: str, id: str, page: ItemQuery) -> list[Item]:
        """Return the items of a page, and one more if there are more.

        Raises
        ------
        ApiError
            If this user has no such conversation, or it has no item `after`.
        """
        query = _PAGE
        if page.after:
            query += f" AND position {'<' if page.descending else '>'} {_POSITION}"
        query += f" ORDER BY position{' DESC' if page.descending else ''} LIMIT :limit"
        values: dict[str, Any] = {"id": id, "after": page.after, "limit": page.limit + 1}

        def read(database: sqlite3.Connection, _: StoredConversation) -> list[Item]:
            if page.after and not database.execute(_ITEM, (id, page.after)).fetchone():
                raise InvalidRequest(f"There is no item {page.after[:200]!r} in it.", param="after")
            return _decoded(database, query, values)

        return await self._run(owner, id, read)

    async def item(self, owner: str, id: str, item: str) -> Item:
        """Return one item of a conversation.

        Raises
        ------
        NotFound
            If this user has no such conversation, or it no such item.
        """

        def read(database: sqlite3.Connection, _: StoredConversation) -> Item:
            found: Item = msgspec.json.decode(_found(database, id, item)[1])
            return found

        return await self._run(owner, id, read)

    async def add(self, owner: str, id: str, items: Sequence[Item]) -> list[Item]:
        """Append items to a conversation, and return them as they are stored.

        Raises
        ------
        ApiError
            If this user has no such conversation, or it is full.
        """

        def write(database: sqlite3.Connection, _: StoredConversation) -> list[Item]:
            size, count, _next = database.execute(_SIZE, {"id": id, "owner": owner}).fetchone()
            self._require_room(id, size, count, items)
            return self._append(database, owner, id, items)

        return await self._run(owner, id, write)

    def addition(
        self, owner: str, id: str, items: Sequence[Item]
    ) -> Callable[[sqlite3.Connection], None]:
        """Return what appends the items of a response, if the conversation is still there.

        It appends them even where there is no more room: what was said is not lost. The next
        request is refused then.
        """

        def write(database: sqlite3.Connection) -> None:
            if database.execute(_SIZE, {"id": id, "owner": owner}).fetchone() is not None:
                self._append(database, owner, id, items)

        return write

    async def delete_item(self, owner: str, id: str, item: str) -> StoredConversation:
        """Delete an item, and return its conversation.

        Raises
        ------
        NotFound
            If this user has no such conversation, or it no such item.
        """

        def write(
            database: sqlite3.Connection, conversation: StoredConversation
        ) -> StoredConversation:
            position, body = _found(database, id, item)
            database.execute(
                "DELETE FROM items WHERE response = ? AND position = ?", (id, position)
            )
            database.execute("UPDATE responses SET bytes = bytes - ? WHERE id = ?", (len(body), id))
            return conversation

        return await self._run(owner, id, write)

    async def _run(
        self, owner: str, id: str, work: Callable[[sqlite3.Connection, StoredConversation], T]
    ) -> T:
        """Call `work` with the database and a conversation, in one transaction."""
        if not (self._store.enabled and id.startswith(PREFIX)):
            raise not_found(id)
        values = {"id": id, "owner": owner, "oldest": time.time() - self._store.max_age}

        def run(database: sqlite3.Connection) -> T:
            row = database.execute(_GET, values).fetchone()
            if row is None:
                raise not_found(id)
            return work(database, STORED.decode(row[0]))

        return await self._store.run(run)

    def _append(
        self, database: sqlite3.Connection, owner: str, id: str, items: Sequence[Item]
    ) -> list[Item]:
        _size, _count, position = database.execute(_SIZE, {"id": id, "owner": owner}).fetchone()
        added: list[Item] = []
        for item in items:
            if database.execute(_ITEM, (id, item["id"])).fetchone() is not None:
                # A client may send an item again. The ids in a conversation are unique.
                item = {**item, "id": new_id(item["id"].partition("_")[0] + "_")}
            body = msgspec.json.encode(item)
            database.execute(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
                (id, position + len(added), False, item["id"], body),
            )
            database.execute("UPDATE responses SET bytes = bytes + ? WHERE id = ?", (len(body), id))
            added.append(item)
        database.execute(_TOUCH, {"id": id, "owner": owner, "now": time.time()})
        self._store.prune(database)
        return added

    def _require_room(self, id: str, size: int, count: int, items: Sequence[Item]) -> None:
        """Check that items fit into a conversation, which has `size` bytes and `count` items."""
        new = sum(len(msgspec.json.encode(item)) for item in items)
        most = self._store.max_bytes // 4
        if size + new <= most and count + len(items) <= MOST_ITEMS:
            return
        raise InvalidRequest(
            f"The conversation {id!r} is full: one has at most {MOST_ITEMS:,} items and {most:,} "
            "bytes, a quarter of MlxNotebookApp.responses_max_bytes. Begin another one.",
            param="conversation",
            code="conversation_full",
        )


def not_found(id: str) -> ApiError:
    """Return the error for a conversation that this user does not have."""
    return NotFound(f"There is no conversation {id[:200]!r}.", code="conversation_not_found")


def _found(database: sqlite3.Connection, id: str, item: str) -> tuple[int, bytes]:
    row = database.execute(_ITEM, (id, item)).fetchone()
    if row is None:
        raise NotFound(f"There is no item {item[:200]!r} in it.", code="item_not_found")
    position, body = row
    return position, body


def _decoded(database: sqlite3.Connection, query: str, values: dict[str, Any]) -> list[Item]:
    return [msgspec.json.decode(body) for (body,) in database.execute(query, values).fetchall()]
