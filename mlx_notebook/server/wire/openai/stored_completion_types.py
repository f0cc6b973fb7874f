"""Stored chat completions: the types of `GET v1/chat/completions` and the routes below it.

Format: https://platform.openai.com/docs/api-reference/chat/list.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.metadata import Metadata
from mlx_notebook.server.wire.openai.chat_request import ChatCompletionRequest
from mlx_notebook.server.wire.openai.chat_response import ChatCompletion


class StoredCompletion(ChatCompletion, kw_only=True):
    """A chat completion with the parameters of its request."""

    request_id: str
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    response_format: Any = None
    input_user: str | None = None

    @classmethod
    def of(cls, request: ChatCompletionRequest, answer: ChatCompletion) -> "StoredCompletion":
        """Return the stored form of an answer."""
        answered = {name: getattr(answer, name) for name in ChatCompletion.__struct_fields__}
        answered["metadata"] = request.metadata or {}
        asked = {
            name: getattr(request, name)
            for name in cls.__struct_fields__
            if name in ChatCompletionRequest.__struct_fields__ and name not in answered
        }
        return cls(**answered, **asked, request_id=answer.id, input_user=request.user)


class CompletionPage(Struct):
    """A page of stored completions, oldest first by default."""

    data: list[StoredCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class MessagePage(Struct):
    """A page of the request messages of a stored completion."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class CompletionUpdate(Struct):
    """New metadata, which replaces the old."""

    metadata: Metadata | None


class DeletedCompletion(Struct):
    """The answer to a DELETE request."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True


def stored_messages(id: str, request: ChatCompletionRequest) -> list[dict[str, Any]]:
    """Return the messages of a request in their stored form. `id` is the completion's id."""
    kept = []
    for index, message in enumerate(msgspec.to_builtins(request.messages)):
        fields = {name: value for name, value in message.items() if value is not None}
        content = fields.get("content")
        parts = content if isinstance(content, list) else None
        if parts is not None:
            content = "\n".join(part["text"] for part in parts if "text" in part)
        kept.append({"id": f"{id}-{index}", **fields, "content": content, "content_parts": parts})
    return kept


DECODER = msgspec.json.Decoder(StoredCompletion)
UPDATE = msgspec.json.Decoder(CompletionUpdate)
