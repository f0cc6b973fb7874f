"""`v1/openapi.json`: the OpenAPI document, generated from the types of the handlers."""

from typing import Any, get_args

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import __version__
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.openapi.model_operations import MODEL_OPERATIONS
from mlx_notebook.server.api.openapi.native_operations import NATIVE_OPERATIONS
from mlx_notebook.server.api.openapi.operation import Operation
from mlx_notebook.server.api.openapi.stored_operations import STORED_OPERATIONS
from mlx_notebook.server.wire.parameters.parameters import IGNORED_HEADER, NOTICES_HEADER

OPERATIONS = (*MODEL_OPERATIONS, *STORED_OPERATIONS, *NATIVE_OPERATIONS)
_IGNORED = {
    "description": "Names of the request's parameters that the server ignored, if any",
    "schema": {"type": "string"},
}
_NOTICES = {
    "description": "Sentences about what of the request's documents and videos the model does not "
    "see, if anything",
    "schema": {"type": "string"},
}
_MEANINGS = {
    400: "The request is invalid; `param` names the parameter",
    401: "The token is missing or wrong",
    403: "The server's settings do not allow this",
    404: "The model or the object does not exist",
    408: "The body took too long to arrive",
    409: "No model for inline completions is chosen, or another job makes the same",
    413: "The body is too large",
    429: "The queue is full; see Retry-After",
    499: "The request was cancelled",
    500: "The server or the engine failed",
    503: "The engine, the model, Hugging Face or the disk is not available now",
    507: "The memory or the disk has no room for it",
}


def document(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the API below `base_url`."""
    types: list[Any] = []
    for operation in OPERATIONS:
        used = (*_answer_types(operation), operation.body, operation.streamed, operation.failure)
        types.extend(t for t in used if t is not None and t not in types)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlx-notebook",
            "version": __version__,
            "description": "Local models on MLX with OpenAI's API. The key is Jupyter's token.",
        },
        "servers": [{"url": base_url.rstrip("/") or "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _answer_types(operation: Operation) -> tuple[type, ...]:
    if isinstance(operation.answer, tuple):
        return operation.answer
    return () if operation.answer in (None, str) else (operation.answer,)


def _operation(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answers := [schema_of[answer] for answer in _answer_types(operation)]:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        content["application/json"] = {"schema": schema}
        for kind in operation.others:
            content[kind] = {"schema": {"type": "string"}}
    elif operation.media:
        for kind in (operation.media, *operation.others):
            content[kind] = {"schema": {"type": "string", "format": "binary"}}
    elif operation.answer is str:
        content["text/plain"] = {"schema": {"type": "string"}}
    elif operation.streamed is None:
        content["application/json"] = {"schema": {"type": "object"}}
    if operation.streamed is not None:
        content["text/event-stream"] = {
            "schema": _event([schema_of[operation.streamed], schema_of[operation.failure]])
        }
    error = {"application/json": {"schema": schema_of[operation.failure]}}
    headers = {IGNORED_HEADER: _IGNORED, NOTICES_HEADER: _NOTICES}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}_{operation.path.strip('/')}",
        "responses": {
            "200": {
                "description": operation.summary,
                "content": content,
                **({"headers": headers} if operation.body is not None else {}),
            },
            **{
                str(code): {"description": _MEANINGS[code], "content": error}
                for code in (401, 403, *operation.errors)
            },
        },
    }
    if operation.streamed is not None:
        events = get_args(operation.streamed) or (operation.streamed,)
        names = ", ".join(f"#/components/schemas/{event.__name__}" for event in events)
        described["description"] = f"As an event stream, each `data:` line holds one of: {names}."
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "multipart/form-data" if operation.form else "application/json": {
                    "schema": schema_of[operation.body]
                }
            },
        }
    parameters: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in operation.path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]
    if parameters:
        described["parameters"] = parameters
    return described


def _event(data: list[Any]) -> dict[str, Any]:
    """Return the schema of one event of a stream whose `data:` lines have these types.

    Streamed completions end with OpenAI's `[DONE]`.
    """
    lines = {"contentMediaType": "application/json", "contentSchema": {"anyOf": data}}
    return {
        "type": "object",
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "anyOf": [{"const": "[DONE]"}, lines]},
        },
        "required": ["data"],
    }


class OpenApiHandler(ApiHandler):
    """Serves the OpenAPI document."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the document."""
        self.answer(document(self.base_url))
