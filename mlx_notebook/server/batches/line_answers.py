"""Write the answers to the lines of a batch as both APIs want them.

Formats: https://platform.openai.com/docs/api-reference/batch/request-output and
https://docs.anthropic.com/en/api/retrieving-message-batch-results.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from mlx_notebook.server.batches.batch_record import BatchKind, LineOutcome
from mlx_notebook.server.wire.ids import new_id


@dataclass(frozen=True)
class LineAnswer:
    """The answer of this server to the request of a line.

    Attributes
    ----------
    status
        HTTP status.
    body
        JSON.
    request_id
        Id of the request, as its trace has it.
    retry_after
        Seconds after which to send it again; None if that makes no sense.
    """

    status: int
    body: bytes
    request_id: str
    retry_after: float | None = None


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _NotRun(msgspec.Struct):
    code: str
    message: str


class _OutputLine(msgspec.Struct):
    id: str
    custom_id: str
    response: _Response | None
    error: _NotRun | None


class _ErrorDetail(msgspec.Struct):
    message: str
    type: str = "api_error"


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail
    type: Literal["error"] = "error"


class _Succeeded(msgspec.Struct, tag_field="type", tag="succeeded"):
    message: msgspec.Raw


class _Errored(msgspec.Struct, tag_field="type", tag="errored"):
    error: msgspec.Raw


class _Canceled(msgspec.Struct, tag_field="type", tag="canceled"):
    pass


class _Expired(msgspec.Struct, tag_field="type", tag="expired"):
    pass


class _ResultLine(msgspec.Struct):
    custom_id: str
    result: _Succeeded | _Errored | _Canceled | _Expired


_MESSAGES: dict[LineOutcome, tuple[str, str]] = {
    "expired": (
        "batch_expired",
        "The time of the batch was over before the request was answered.",
    ),
    "cancelled": ("batch_cancelled", "The batch was cancelled before the request was answered."),
}


def outcome_of(answer: LineAnswer) -> LineOutcome:
    """Return how a line has ended."""
    return "succeeded" if answer.status == 200 else "errored"


def answered(kind: BatchKind, custom_id: str, answer: LineAnswer) -> bytes:
    """Return the line for an answer, without its end of line."""
    body = msgspec.Raw(answer.body.replace(b"\n", b" "))
    if kind == "openai":
        response = _Response(answer.status, answer.request_id, body)
        return msgspec.json.encode(_OutputLine(new_id("batch_req_"), custom_id, response, None))
    result = _Succeeded(body) if answer.status == 200 else _Errored(body)
    return msgspec.json.encode(_ResultLine(custom_id, result))


def not_run(kind: BatchKind, custom_id: str, outcome: LineOutcome) -> bytes:
    """Return the line for a request that was not answered: the batch was cancelled or expired."""
    if kind == "openai":
        return _with_error(custom_id, *_MESSAGES[outcome])
    result = _Canceled() if outcome == "cancelled" else _Expired()
    return msgspec.json.encode(_ResultLine(custom_id, result))


def not_kept(kind: BatchKind, custom_id: str) -> bytes:
    """Return the line for a request whose answer is too large to be kept."""
    message = (
        "There is no room for the answer: files and batches would be too large together "
        "(MlxNotebookApp.files_max_bytes)."
    )
    return failed(kind, custom_id, "too_many_files", message)


def failed(kind: BatchKind, custom_id: str, code: str, message: str) -> bytes:
    """Return the line for a request to which there is no answer."""
    if kind == "openai":
        return _with_error(custom_id, code, message)
    body = msgspec.Raw(msgspec.json.encode(_ErrorBody(_ErrorDetail(message))))
    return msgspec.json.encode(_ResultLine(custom_id, _Errored(body)))


def _with_error(custom_id: str, code: str, message: str) -> bytes:
    error = _NotRun(code, message)
    return msgspec.json.encode(_OutputLine(new_id("batch_req_"), custom_id, None, error))
