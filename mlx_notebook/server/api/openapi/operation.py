"""What the description of an operation consists of."""

from typing import Any

import msgspec

from mlx_notebook.server.errors import ErrorResponse
from mlx_notebook.server.wire.responses import responses_request


class Operation(msgspec.Struct):
    """Describe one operation.

    Attributes
    ----------
    method, path, summary
        HTTP method, path below the base URL, and one line of description.
    errors
        HTTP status codes of its errors, without 401 and 403.
    answer
        Type of the response, or types if it depends on the request. `str` is plain text.
    body
        Type of the request's body.
    form
        Whether the body is a form with a file, and not JSON.
    media
        Media type of the response, if it is bytes and not JSON.
    streamed
        Type of a `data:` line, if it can answer with an event stream.
    failure
        Type of an error response.
    others
        More media types of the response: texts beside JSON, bytes beside `media`.
    query
        Schemas of the query parameters.
    """

    method: str
    path: str
    summary: str
    errors: tuple[int, ...]
    answer: type | tuple[type, ...] | None = None
    body: Any = None
    streamed: Any = None
    failure: type = ErrorResponse
    query: dict[str, dict[str, Any]] = {}
    form: bool = False
    media: str = ""
    others: tuple[str, ...] = ()


# Status codes of requests to a model.
MODEL_ERRORS = (400, 404, 408, 413, 429, 499, 500, 503, 507)
PAGE: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
}
INCLUDE: dict[str, dict[str, Any]] = {
    "include": {"type": "array", "items": {"enum": [*responses_request.INCLUDABLE]}},
}
ITEMS = {**PAGE, **INCLUDE}
