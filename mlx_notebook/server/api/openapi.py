"""`v1/openapi.json`: all routes, described from the types that they really use."""

from typing import Any, get_args

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import __version__
from mlx_notebook.server.api.base import ApiHandler
from mlx_notebook.server.api.openapi_operations import OPERATIONS, Operation
from mlx_notebook.server.wire.parameters import IGNORED_HEADER

_IGNORED = {
    "description": "The request's parameters that change nothing here, if there are some",
    "schema": {"type": "string"},
}
_MEANINGS = {
    400: "The request is not right; `param` names the parameter",
    401: "The token is missing or wrong",
    403: "The server's settings do not allow this",
    404: "There is no such model or request",
    408: "The body took too long to arrive",
    413: "The body is too large",
    429: "The queue is full; see Retry-After",
    499: "The request was cancelled",
    500: "The server or the engine failed on the request",
    503: "The engine, the model in it, Hugging Face, or the disk cannot be used now",
    507: "There is no room for the model in memory or on the disk",
}


def document(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the API below `base_url`."""
    types: list[Any] = []
    for route in OPERATIONS:
        used = (*_answer_types(route), route.body, route.streamed, route.failure)
        types.extend(t for t in used if t is not None and t not in types)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in OPERATIONS:
        paths.setdefault(route.path, {})[route.method] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlx-notebook",
            "version": __version__,
            "description": "Local models over MLX, with OpenAI's API. The key is Jupyter's token.",
        },
        "servers": [{"url": base_url.rstrip("/") or "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _answer_types(route: Operation) -> tuple[type, ...]:
    if isinstance(route.answer, tuple):
        return route.answer
    return () if route.answer is None else (route.answer,)


def _operation(route: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answers := [schema_of[answer] for answer in _answer_types(route)]:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        content["application/json"] = {"schema": schema}
    elif route.streamed is None:
        content["application/json"] = {"schema": {"type": "object"}}
    if route.streamed is not None:
        content["text/event-stream"] = {
            "schema": _event([schema_of[route.streamed], schema_of[route.failure]])
        }
    error = {"application/json": {"schema": schema_of[route.failure]}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method}_{route.path.strip('/')}",
        "responses": {
            "200": {
                "description": route.summary,
                "content": content,
                **({"headers": {IGNORED_HEADER: _IGNORED}} if route.body is not None else {}),
            },
            **{
                str(code): {"description": _MEANINGS[code], "content": error}
                for code in (401, 403, *route.errors)
            },
        },
    }
    if route.streamed is not None:
        events = get_args(route.streamed) or (route.streamed,)
        names = ", ".join(f"#/components/schemas/{event.__name__}" for event in events)
        operation["description"] = f"As an event stream, each `data:` line holds one of: {names}."
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[route.body]}},
        }
    parameters: list[dict[str, Any]] = []
    if "{" in route.path:
        name = route.path.split("{")[1].split("}")[0]
        parameters.append(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        )
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in route.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _event(data: list[Any]) -> dict[str, Any]:
    """Return the schema of one event of a stream whose `data:` lines are of these types.

    The completions end with OpenAI's `[DONE]`.
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
    """The description itself."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the description."""
        self.answer(document(self.base_url))
