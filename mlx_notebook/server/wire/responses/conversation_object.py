"""The conversations of `v1/conversations`, whose items responses read and extend.

Format: https://platform.openai.com/docs/api-reference/conversations.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.server.wire.metadata import Metadata

MOST_ADDED = 20
"""Most items that one request adds to a conversation, as OpenAI's server allows."""

# An item as the client sent it. `typed_item` validates it.
_Item = Annotated[dict[str, Any], Meta(extra_json_schema={"minProperties": 1})]
_Items = Annotated[list[_Item], Meta(max_length=MOST_ADDED)]


class ConversationReference(Struct):
    """The conversation that a response belongs to."""

    id: str


class StoredConversation(Struct):
    """A conversation without its items."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"


class ConversationRequest(Struct):
    """A new conversation with its first items."""

    items: _Items | None = None
    metadata: Metadata | None = None


class ConversationUpdate(Struct):
    """New metadata, which replaces the old."""

    metadata: Metadata | None


class ItemsRequest(Struct):
    """Items to add to a conversation."""

    items: Annotated[list[_Item], Meta(min_length=1, max_length=MOST_ADDED)]


class DeletedStoredConversation(Struct):
    """The answer to a DELETE request."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True


DECODER = msgspec.json.Decoder(ConversationRequest)
UPDATE = msgspec.json.Decoder(ConversationUpdate)
ITEMS = msgspec.json.Decoder(ItemsRequest)
STORED = msgspec.json.Decoder(StoredConversation)
