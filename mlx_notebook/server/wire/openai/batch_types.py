"""Batches of requests: the types of `v1/batches`.

Format: https://platform.openai.com/docs/api-reference/batch.
"""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, json

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.metadata import Metadata
from mlx_notebook.server.wire.openai.file_types import ExpirySeconds

BatchEndpoint = Literal[
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"
]
BatchStatus = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
# An hour to two weeks.
_WINDOW = r"^([1-9]|[1-9][0-9]|[12][0-9][0-9]|3[0-2][0-9]|33[0-6])h$"
CompletionWindow = Annotated[str, Meta(extra_json_schema={"pattern": _WINDOW})]


class OutputExpiry(Struct, kw_only=True):
    """How long the files that a batch makes are kept."""

    anchor: Literal["created_at"]
    seconds: ExpirySeconds


class BatchRequest(Struct, kw_only=True):
    """The body of `POST v1/batches`."""

    input_file_id: str
    endpoint: BatchEndpoint
    completion_window: CompletionWindow
    metadata: Metadata | None = None
    output_expires_after: OutputExpiry | None = None

    def hours(self) -> int:
        """Return the hours that the batch may take.

        Raises
        ------
        InvalidRequest
            If `completion_window` is no such time.
        """
        if re.fullmatch(_WINDOW, self.completion_window) is None:
            raise InvalidRequest(
                "'completion_window' must be a number of hours from 1h to 336h, such as 24h, and "
                f"not {self.completion_window[:20]!r}.",
                param="completion_window",
                code="invalid_value",
            )
        return int(self.completion_window.removesuffix("h"))


class BatchErrorItem(Struct):
    """What is wrong with a batch or with a line of its file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrorList(Struct):
    """All that is wrong with a batch."""

    data: list[BatchErrorItem]
    object: Literal["list"] = "list"


class BatchRequestCounts(Struct):
    """How many requests a batch has, and how many are answered."""

    total: int
    completed: int
    failed: int


class BatchObject(Struct, kw_only=True):
    """A batch."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    created_at: int
    expires_at: int
    request_counts: BatchRequestCounts
    errors: BatchErrorList | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: Metadata | None = None
    object: Literal["batch"] = "batch"


class BatchPage(Struct):
    """A page of batches, the newest first."""

    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


DECODER = json.Decoder(BatchRequest)
