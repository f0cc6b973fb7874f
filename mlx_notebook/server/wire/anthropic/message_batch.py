"""Message batches: the types of `v1/messages/batches`.

Format: https://docs.anthropic.com/en/api/creating-message-batches.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, json

_CustomId = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class BatchedMessage(Struct):
    """One request of a batch: the body of `POST v1/messages`, and an id for its answer."""

    custom_id: _CustomId
    params: dict[str, Any]


class MessageBatchRequest(Struct):
    """The body of `POST v1/messages/batches`."""

    requests: Annotated[list[BatchedMessage], Meta(min_length=1, max_length=100_000)]


class RawBatchedMessage(Struct):
    """One request of a batch, whose body is not decoded."""

    custom_id: _CustomId
    params: Raw


class RawMessageBatchRequest(Struct):
    """The body of `POST v1/messages/batches`, without the bodies of its requests."""

    requests: Annotated[list[RawBatchedMessage], Meta(min_length=1, max_length=100_000)]


class MessageBatchCounts(Struct, kw_only=True):
    """How many requests are in which state."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(Struct, kw_only=True):
    """A message batch. `results_url` is a path below the base URL of the client."""

    id: str
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: MessageBatchCounts
    created_at: str
    expires_at: str
    ended_at: str | None = None
    archived_at: None = None
    cancel_initiated_at: str | None = None
    results_url: str | None = None
    type: Literal["message_batch"] = "message_batch"


class MessageBatchPage(Struct):
    """A page of message batches, the newest first."""

    data: list[MessageBatch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedMessageBatch(Struct):
    """The answer to a DELETE request."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


DECODER = json.Decoder(RawMessageBatchRequest)
