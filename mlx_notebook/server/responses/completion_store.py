"""Store chat completions, in the same file and with the same limits as responses."""

import sqlite3
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook.server.errors import ApiError, NotFound
from mlx_notebook.server.responses.response_store import Item, ResponseStore
from mlx_notebook.server.wire.openai.stored_completion_types import DECODER, StoredCompletion

PREFIX = "chatcmpl-"

# Later completions have a higher `rowid`. The body is JSON, which SQLite reads as text.
_LIST = """
SELECT body FROM responses
WHERE owner = :owner AND touched >= :oldest AND substr(id, 1, 9) = 'chatcmpl-'
"""
_AFTER = " AND rowid > (SELECT rowid FROM responses WHERE id = :after)"
_BEFORE = " AND rowid < (SELECT rowid FROM responses WHERE id = :after)"
_OLDEST = " ORDER BY rowid LIMIT :limit"
_NEWEST = " ORDER BY rowid DESC LIMIT :limit"
_OF_MODEL = " AND json_extract(CAST(body AS TEXT), '$.model') = :model"
_WITH_METADATA = """
AND EXISTS (
    SELECT 1 FROM json_each(CAST(body AS TEXT), '$.metadata') WHERE key = {key} AND value = {value}
)
"""


class CompletionQuery(Struct):
    """Ask for a page of completions. `after` is the id of the completion before the page."""

    limit: int
    descending: bool = False
    after: str = ""
    model: str = ""
    metadata: Mapping[str, str] = {}


class CompletionStore:
    """Store the chat completions of each user.

    Parameters
    ----------
    store
        Store that holds their file.
    """

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def save(self, owner: str, completion: StoredCompletion, messages: list[Item]) -> None:
        """Store a completion and the messages of its request.

        Raises
        ------
        Unavailable
            If it cannot be written.
        """
        body = msgspec.json.encode(completion)
        await self._store.save(owner, completion.id, None, body, messages, [])

    async def get(self, owner: str, id: str) -> StoredCompletion:
        """Return a completion.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        has = self._store.enabled and id.startswith(PREFIX)
        body = await self._store.get(owner, id) if has else None
        if body is None:
            raise not_found(id)
        return DECODER.decode(body)

    async def page(self, owner: str, page: CompletionQuery) -> list[StoredCompletion]:
        """Return the completions of a page, and one more if there are more."""
        if not self._store.enabled:
            return []
        if page.after:
            await self.get(owner, page.after)
        query, values = _query(owner, page)
        values["oldest"] = time.time() - self._store.max_age

        def read(database: sqlite3.Connection) -> list[bytes]:
            return [body for (body,) in database.execute(query, values).fetchall()]

        return [DECODER.decode(body) for body in await self._store.run(read)]

    async def update(self, owner: str, id: str, metadata: dict[str, str]) -> StoredCompletion:
        """Replace the metadata of a completion, and return it.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        completion = await self.get(owner, id)
        completion.metadata = metadata
        body = msgspec.json.encode(completion)
        query = (
            "UPDATE responses SET body = :body, bytes = bytes - length(body) + :size "
            "WHERE id = :id AND owner = :owner"
        )
        values = {"body": body, "size": len(body), "id": id, "owner": owner}
        if not await self._store.run(lambda database: database.execute(query, values).rowcount):
            raise not_found(id)
        return completion

    async def delete(self, owner: str, id: str) -> None:
        """Delete a completion.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        has = self._store.enabled and id.startswith(PREFIX)
        if not (has and await self._store.delete(owner, id)):
            raise not_found(id)

    async def messages(self, owner: str, id: str) -> list[Item]:
        """Return the messages of a completion's request, oldest first.

        Raises
        ------
        NotFound
            If this user has none with this id.
        """
        await self.get(owner, id)
        return await self._store.input_items(owner, id)


def not_found(id: str) -> ApiError:
    """Return the error for a completion that this user does not have."""
    return NotFound(
        f"There is no stored chat completion {id[:200]!r}. Only those of requests with "
        "store=true are kept.",
        code="completion_not_found",
    )


def _query(owner: str, page: CompletionQuery) -> tuple[str, dict[str, Any]]:
    """Return the query for a page and its values. One row more tells whether there are more."""
    values: dict[str, Any] = {"owner": owner, "limit": page.limit + 1}
    query = _LIST
    if page.after:
        query += _BEFORE if page.descending else _AFTER
        values["after"] = page.after
    if page.model:
        query += _OF_MODEL
        values["model"] = page.model
    for number, (key, value) in enumerate(page.metadata.items()):
        query += _WITH_METADATA.format(key=f":key{number}", value=f":value{number}")
        values |= {f"key{number}": key, f"value{number}": value}
    query += _NEWEST if page.descending else _OLDEST
    return query, values
