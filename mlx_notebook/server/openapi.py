"""`v1/openapi.json`: all routes, described from the types that they really use."""

from typing import Any

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import __version__
from mlx_notebook.server.base import ApiHandler
from mlx_notebook.server.errors import ErrorResponse
from mlx_notebook.server.wire import (
    chat,
    completion,
    completions,
    embeddings,
    models,
    status,
    traces,
)


class Route(msgspec.Struct):
    """One operation. `streamed` is the type of a `data:` line where it answers with events."""

    method: str
    path: str
    summary: str
    errors: tuple[int, ...]
    answer: type | None = None
    body: type | None = None
    streamed: type | None = None


_GENERATION = (400, 404, 413, 429, 499, 500, 503)

ROUTES = (
    Route(
        "post",
        "/v1/chat/completions",
        "Continue a chat, whole or streamed",
        _GENERATION,
        completion.ChatCompletion,
        chat.ChatCompletionRequest,
        completion.ChatCompletionChunk,
    ),
    Route(
        "post",
        "/v1/completions",
        "Continue a text, whole or streamed",
        _GENERATION,
        completions.TextCompletion,
        completions.CompletionRequest,
        completions.TextCompletion,
    ),
    Route(
        "post",
        "/v1/embeddings",
        "Turn texts into vectors",
        (400, 404, 413, 499, 500, 503),
        embeddings.EmbeddingList,
        embeddings.EmbeddingRequest,
    ),
    Route("get", "/v1/models", "List the models of this server", (), models.ModelList),
    Route("get", "/v1/models/{model}", "Describe a model", (404,), models.Model),
    Route("get", "/health", "Tell whether requests can be served", (503,), status.Health),
    Route("get", "/mlx/status", "Tell the state of engine and requests", (), status.Status),
    Route("get", "/mlx/events", "Stream the state as it changes", (), streamed=status.Status),
    Route(
        "post",
        "/mlx/models/load",
        "Bring a model into memory",
        (400, 404, 413, 499, 500, 503),
        models.LoadedModel,
        models.ModelOrder,
    ),
    Route(
        "post",
        "/mlx/models/unload",
        "Give a model's memory back",
        (400, 404, 413, 499, 500, 503),
        models.UnloadedModel,
        models.ModelOrder,
    ),
    Route("post", "/mlx/cancel/{id}", "Stop a request", (404, 413), status.Cancelled),
    Route("get", "/mlx/traces", "List the last requests", (), traces.TraceList),
    Route("get", "/mlx/traces/{id}", "Show all about a request", (404,), traces.Trace),
    Route("get", "/v1/openapi.json", "Describe this API", ()),
)

_MEANINGS = {
    400: "The request is not right; `param` names the parameter",
    401: "The token is missing or wrong",
    403: "The server's settings do not allow this",
    404: "There is no such model or request",
    413: "The body is too large",
    429: "The queue is full; see Retry-After",
    499: "The request was cancelled",
    500: "The server or the engine failed on the request",
    503: "The engine, or the model in it, cannot be used now",
}


def document(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the API below `base_url`."""
    types: list[type] = [ErrorResponse]
    for route in ROUTES:
        types.extend(t for t in (route.answer, route.body, route.streamed) if t is not None)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
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


def _operation(route: Route, schema_of: dict[type, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": schema_of[route.answer]}
    elif route.streamed is None:
        content["application/json"] = {"schema": {"type": "object"}}
    if route.streamed is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": schema_of[ErrorResponse]}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method}_{route.path.strip('/')}",
        "responses": {
            "200": {"description": route.summary, "content": content},
            **{
                str(code): {"description": _MEANINGS[code], "content": error}
                for code in (401, 403, *route.errors)
            },
        },
    }
    if route.streamed is not None:
        operation["description"] = (
            "As an event stream, each `data:` line holds a "
            f"#/components/schemas/{route.streamed.__name__}."
        )
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[route.body]}},
        }
    if "{" in route.path:
        name = route.path.split("{")[1].rstrip("}")
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


class OpenApiHandler(ApiHandler):
    """The description itself."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the description."""
        self.answer(document(self.base_url))
