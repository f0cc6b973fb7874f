"""Define the errors that clients see, each with its HTTP status and OpenAI's error object.

ApiError                    500  internal_error
├── InvalidRequest          400  invalid_request: errors without a code of their own
│                                of the body: invalid_json, invalid_type, invalid_value,
│                                missing_parameter, unsupported_parameter, unsupported_content,
│                                unsupported_tool, body_too_complex, too_many_messages,
│                                setting_not_allowed, invalid_form; of the head: invalid_header
│                                of the model: context_length_exceeded, vision_not_supported,
│                                generation_not_supported, fill_not_supported,
│                                rerank_not_supported, model_is_local, model_is_upstream,
│                                not_a_model, download_in_progress
│                                of images: invalid_image, image_too_large, too_many_images,
│                                image_url_not_allowed, image_not_fetched
│                                of sound: invalid_audio, audio_not_supported, audio_too_large,
│                                too_many_sounds
│                                of documents: invalid_document, document_too_large,
│                                too_many_pages, document_not_fetched
│                                of videos: invalid_video, video_too_large, too_many_frames,
│                                video_not_fetched
│                                of references: unknown_tool_call_id, unknown_call_id,
│                                unknown_tool_use_id, item_not_found, not_streamable,
│                                not_cancellable, batch_not_ended, previous_response_not_found,
│                                previous_response_not_finished, response_in_conversation,
│                                conversation_full, call_without_output, empty_summary,
│                                unreadable_compaction, unknown_approval_request,
│                                thread_unsupported_request
│                                of WebSockets: websocket_connection_limit_reached
├── Unauthorized            401  invalid_api_key, token_needed
├── Forbidden               403  permission_denied, host_not_allowed, origin_not_allowed,
│                                setting_not_allowed, texts_are_private, model_gated, hub_refused,
│                                scope_missing, upstream_not_allowed, mcp_not_allowed
├── NotFound                404  not_found, unknown_route, request_not_found, trace_not_found,
│                                job_not_found, conversation_not_found, response_not_found,
│                                completion_not_found, file_not_found, batch_not_found,
│                                item_not_found, nothing_to_cancel
│                                of models: model_not_found, model_incomplete, model_not_trusted,
│                                adapter_not_found, revision_not_found, settings_not_usable
├── MethodNotAllowed        405  method_not_allowed
├── Conflict                409  completions_not_available, job_running, name_taken,
│                                conversation_locked, conversation_changed
├── BodyTimeout             408  request_timeout
├── BodyTooLarge            413  request_too_large
├── QueueFull               429  queue_full
├── RateLimited             429  rate_limit_exceeded
├── RequestCancelled        499  request_cancelled, download_cancelled
├── EngineError             500  engine_error, constraint_failed
├── UpstreamError           502  upstream_error, or the status that the upstream answered with
│                           503  upstream_unreachable, upstream_key_missing
│                           504  upstream_timeout
├── Unavailable             503  engine_unavailable, model_load_failed, model_refused,
│                                store_unavailable, settings_not_writable, job_failed,
│                                conversations_unavailable, mcp_not_installed, mcp_not_reached,
│                                files_unavailable, jupyterhub_unreachable,
│                                service_unreachable
│                                of downloads: offline, hub_unreachable, hub_busy, hub_failed,
│                                download_interrupted, download_failed, cache_not_writable
├── InsufficientStorage     507  disk_full, too_many_conversations, too_many_files
└── InsufficientMemory      507  insufficient_memory

A failed response of `v1/responses` has one of OpenAI's codes: server_error, rate_limit_exceeded,
invalid_prompt.
"""

import re
from collections.abc import Callable
from typing import ClassVar

import msgspec
from tornado import web

from mlx_notebook.protocol import ErrorCode, Failed

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ErrorBody(msgspec.Struct, frozen=True):
    """Describe an error as OpenAI does: `type` is the kind of error, `code` the exact case."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct, frozen=True):
    """Hold the body of an error response."""

    error: ErrorBody


class ApiError(web.HTTPError):
    """An error that is sent to the client. Raise it anywhere below a handler.

    Attributes
    ----------
    message
        What happened and what to do next, for a person.
    param
        Parameter of the request that is wrong, if one is.
    headers
        More response headers, for example `Retry-After`.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    status_reason: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        # Escape control characters, so that text of a request cannot begin a new line in the log.
        line = _CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
        super().__init__(self.status, line, reason=self.status_reason)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.headers = headers or {}

    def body(self) -> ErrorResponse:
        """Return OpenAI's error object."""
        return ErrorResponse(ErrorBody(self.message, self.kind, self.param, self.code))

    def encoded(self) -> bytes:
        """Return OpenAI's error object as JSON."""
        return msgspec.json.encode(self.body())


class InvalidRequest(ApiError):
    """The request is invalid."""

    status = 400
    kind = "invalid_request_error"
    default_code = "invalid_request"


class Unauthorized(ApiError):
    """The request has no valid token."""

    status = 401
    kind = "authentication_error"
    default_code = "invalid_api_key"


class Forbidden(ApiError):
    """The settings of the server do not allow this client or user to do this."""

    status = 403
    kind = "permission_error"
    default_code = "permission_denied"


class NotFound(ApiError):
    """There is no such route, model or request."""

    status = 404
    kind = "invalid_request_error"
    default_code = "not_found"


class MethodNotAllowed(ApiError):
    """The route exists, but does not accept this HTTP method."""

    status = 405
    kind = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(ApiError):
    """The state of the server does not allow this now."""

    status = 409
    kind = "invalid_request_error"
    default_code = "completions_not_available"


class BodyTimeout(ApiError):
    """The body took longer than `MlxNotebookApp.body_timeout_seconds` to arrive."""

    status = 408
    kind = "invalid_request_error"
    default_code = "request_timeout"


class BodyTooLarge(ApiError):
    """The body is larger than `MlxNotebookApp.max_body_bytes`."""

    status = 413
    kind = "invalid_request_error"
    default_code = "request_too_large"


class QueueFull(ApiError):
    """Too many requests are running or waiting."""

    status = 429
    kind = "rate_limit_error"
    default_code = "queue_full"


class RateLimited(ApiError):
    """The user has as many requests in flight, or has taken as many tokens, as they may.

    Parameters
    ----------
    message
        As for `ApiError`.
    kind
        What is limited: `requests` or `tokens`. It is the `type` of the error, as with OpenAI.
    retry_after
        Seconds after which to try again.
    """

    status = 429
    kind = "rate_limit_error"
    default_code = "rate_limit_exceeded"

    def __init__(self, message: str, *, kind: str, retry_after: int) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after)})
        self.limited = kind

    def body(self) -> ErrorResponse:
        """Return OpenAI's error object."""
        return ErrorResponse(ErrorBody(self.message, self.limited, None, self.code))


class RequestCancelled(ApiError):
    """The request was cancelled through `mlx/cancel`, or its client closed the connection."""

    status = 499
    kind = "server_error"
    default_code = "request_cancelled"
    status_reason = "Request Cancelled"


class EngineError(ApiError):
    """The engine failed on the request, and still runs."""

    status = 500
    default_code = "engine_error"


class InsufficientStorage(ApiError):
    """The disk is full, or what a user may keep is. Clients do not send the request again."""

    status = 507
    default_code = "disk_full"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        headers = {**(headers or {}), "x-should-retry": "false"}
        super().__init__(message, param=param, code=code, headers=headers)


class Unavailable(ApiError):
    """The engine, a model or another part cannot be used now."""

    status = 503
    default_code = "engine_unavailable"


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class UpstreamError(ApiError):
    """An upstream refused a request, failed, or cannot be reached.

    Parameters
    ----------
    status
        HTTP status for the client.
    own_code
        The upstream's code for the error, which the client gets. Metrics and traces have `code`.
    """

    status = 502
    default_code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        own_code: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, headers=headers)
        self.status_code = status
        self._own_code = own_code

    def body(self) -> ErrorResponse:
        """Return OpenAI's error object."""
        refused = "invalid_request_error" if self.status_code < 500 else self.kind
        kind = _KINDS.get(self.status_code, refused)
        return ErrorResponse(ErrorBody(self.message, kind, self.param, self._own_code or self.code))


class InsufficientMemory(ApiError):
    """The model does not fit into the memory budget."""

    status = 507
    default_code = "insufficient_memory"


def from_failed(failed: Failed) -> ApiError:
    """Return the API error for a `Failed` event of the engine."""
    make = _FROM_ENGINE.get(failed.code, EngineError)
    param = failed.param
    if failed.code == "context_length_exceeded":
        param = param or "messages"
    return make(failed.message, param=param, code=failed.code)


_FROM_ENGINE: dict[ErrorCode, Callable[..., ApiError]] = {
    "invalid_request": InvalidRequest,
    "invalid_image": InvalidRequest,
    "invalid_audio": InvalidRequest,
    "context_length_exceeded": InvalidRequest,
    "vision_not_supported": InvalidRequest,
    "audio_not_supported": InvalidRequest,
    "model_load_failed": Unavailable,
    "insufficient_memory": InsufficientMemory,
    "permission_denied": Forbidden,
    "constraint_failed": EngineError,
    "engine_error": EngineError,
}
