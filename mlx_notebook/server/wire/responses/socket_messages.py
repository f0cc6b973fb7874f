"""What travels over a WebSocket of `v1/responses`: messages of clients, and frames with errors.

All other frames are the events of a stream.

Format: https://developers.openai.com/api/docs/guides/websocket-mode.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mlx_notebook.server.errors import ApiError, ErrorBody, InvalidRequest, RequestCancelled
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter

_ONE_LANE = "open a connection for each response that runs at the same time"


class _Envelope(Struct):
    type: str
    generate: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    stream_id: Any = None
    previous_response_id: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


class CreateMessage(Struct, frozen=True):
    """The message that asks for a response.

    Attributes
    ----------
    body
        The body of the same request as a POST.
    generates
        Whether the model answers. If not, only its prefix cache is prepared.
    previous
        Id of the response that it continues; None for none.
    """

    body: bytes
    generates: bool
    previous: str | None


def read_message(message: bytes) -> CreateMessage:
    """Return the request that a client's message is.

    Raises
    ------
    InvalidRequest
        If it is no such message, or has parameters that a WebSocket does not have.
    """
    body = RequestBody(message)
    envelope = decode(_ENVELOPE, body)
    if envelope.type != "response.create":
        raise InvalidRequest(
            f"'type' is {envelope.type[:100]!r}. This server takes messages of the type "
            "'response.create' only.",
            param="type",
            code="invalid_value",
        )
    if envelope.stream is False:
        raise unsupported_parameter("stream", "leave it out, since a WebSocket always streams")
    if envelope.background:
        raise unsupported_parameter("background", "POST the request to v1/responses")
    if envelope.stream_id is not None:
        raise unsupported_parameter("stream_id", _ONE_LANE)
    members = _MEMBERS.decode(message)
    for name in ("type", "generate", "background", "stream_id"):
        members.pop(name, None)
    members["stream"] = Raw(b"true")
    previous = envelope.previous_response_id
    return CreateMessage(
        msgspec.json.encode(members),
        envelope.generate is not False,
        previous if isinstance(previous, str) else None,
    )


class _SocketError(ErrorBody, frozen=True):
    headers: dict[str, str] | UnsetType = UNSET


class _ErrorFrame(Struct, tag_field="type", tag="error"):
    status: int
    error: _SocketError


class _ToldError(Struct):
    """An error as the body of an answer or as an event of a stream has it."""

    error: ErrorBody | None = None
    status: int | None = None
    code: str | None = None
    message: str = ""
    param: str | None = None


def error_frame(error: ApiError) -> bytes:
    """Return the frame for an error."""
    return _frame(error.status_code, error.body().error, error.headers)


def told_error_frame(status: int, told: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the frame for an error that an answer or an event of a stream tells.

    Parameters
    ----------
    status
        HTTP status of the answer. That of a stream has been sent before the error.
    told
        The answer's body, or the event's data.
    headers
        Headers of the answer.
    """
    body = msgspec.json.decode(told, type=_ToldError)
    if body.error is None:
        return error_frame(RequestCancelled(body.message, param=body.param, code=body.code))
    return _frame(body.status or status, body.error, headers)


def _frame(status: int, body: ErrorBody, headers: Mapping[str, str]) -> bytes:
    error = _SocketError(body.message, body.type, body.param, body.code)
    if (seconds := headers.get("Retry-After")) is not None:
        error = msgspec.structs.replace(error, headers={"retry-after": seconds})
    return msgspec.json.encode(_ErrorFrame(status, error))
