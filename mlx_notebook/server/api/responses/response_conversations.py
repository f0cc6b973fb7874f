"""Handle `v1/conversations`: conversations that responses read and extend, and their items."""

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.query import one_of, several, whole_number
from mlx_notebook.server.api.responses.response_input import ResponsesBase
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.response_store import Item
from mlx_notebook.server.responses.stored_conversations import ItemQuery, StoredConversations
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.responses import conversation_object as wire
from mlx_notebook.server.wire.responses.response_items import listed_item
from mlx_notebook.server.wire.responses.response_object import ItemList
from mlx_notebook.server.wire.responses.responses_request import INCLUDABLE

_MAX_LIMIT = 100


class StoredConversationBase(ResponsesBase):
    """Base of the routes of conversations."""

    @property
    def conversations(self) -> StoredConversations:
        """The conversations of all users."""
        return self.services.responses.conversations

    async def listed(self, user: str, items: list[dict[str, Any]]) -> list[Item]:
        """Return items that a client sent, in the form that is stored.

        Raises
        ------
        InvalidRequest
            If one is invalid, or refers to something that does not exist.
        """
        known = await self.known_items(user, items, "items")
        return [listed_item(item, new_id) for item in known]


class StoredConversationsHandler(StoredConversationBase):
    """Create conversations."""

    endpoint = "v1/conversations"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Create a conversation, with items if the request has some."""
        request = self.decoded(wire.DECODER)
        user = await owner(self)
        items = await self.listed(user, request.items or [])
        self.answer(await self.conversations.create(user, items, request.metadata or {}))


class StoredConversationHandler(StoredConversationBase):
    """Show, update and delete one conversation."""

    endpoint = "v1/conversations/{id}"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the conversation."""
        self.answer(await self.conversations.get(await owner(self), id))

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Replace its metadata."""
        metadata = self.decoded(wire.UPDATE).metadata or {}
        self.answer(await self.conversations.update(await owner(self), id, metadata))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it."""
        await self.conversations.delete(await owner(self), id)
        self.answer(wire.DeletedStoredConversation(id))


class ConversationItemsHandler(StoredConversationBase):
    """List the items of a conversation, and add some."""

    endpoint = "v1/conversations/{id}/items"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with a page of items, newest first unless `order` is `asc`."""
        page = ItemQuery(
            limit=whole_number(self, "limit", 20, 1, _MAX_LIMIT),
            descending=one_of(self, "order", "desc", ("asc", "desc")) == "desc",
            after=self.get_query_argument("after", ""),
        )
        several(self, "include", INCLUDABLE)
        items = await self.conversations.page(await owner(self), id, page)
        self.answer(_listed(items[: page.limit], has_more=len(items) > page.limit))

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Add items, and answer with them."""
        request = self.decoded(wire.ITEMS)
        several(self, "include", INCLUDABLE)
        user = await owner(self)
        items = await self.listed(user, request.items)
        self.answer(_listed(await self.conversations.add(user, id, items), has_more=False))


class ConversationItemHandler(StoredConversationBase):
    """Show and delete one item of a conversation."""

    endpoint = "v1/conversations/{id}/items/{item}"

    @web.authenticated
    @authorized
    async def get(self, id: str, item: str) -> None:
        """Answer with the item."""
        several(self, "include", INCLUDABLE)
        self.answer(await self.conversations.item(await owner(self), id, item))

    @web.authenticated
    @authorized
    async def delete(self, id: str, item: str) -> None:
        """Delete it, and answer with its conversation."""
        self.answer(await self.conversations.delete_item(await owner(self), id, item))


def _listed(items: list[Item], *, has_more: bool) -> ItemList:
    return ItemList(
        data=items,
        first_id=items[0]["id"] if items else None,
        last_id=items[-1]["id"] if items else None,
        has_more=has_more,
    )
