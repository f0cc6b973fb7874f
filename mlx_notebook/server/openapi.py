"""`v1/openapi.json`: all routes, described from the types that they really use."""

from typing import Any, get_args

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import __version__
from mlx_notebook.server import settings
from mlx_notebook.server.base import ApiHandler
from mlx_notebook.server.errors import ErrorResponse
from mlx_notebook.server.wire import (
    anthropic,
    anthropic_message,
    anthropic_models,
    chat,
    completion,
    completions,
    embeddings,
    models,
    response,
    response_events,
    responses,
    status,
    stored_completions,
    tokens,
    traces,
)


class Route(msgspec.Struct):
    """One operation. Of several `answer` types it depends on the request which one comes.

    `streamed` is the type of a `data:` line where it answers with events.

    `query` are the schemas of the parameters that go behind the question mark.
    """

    method: str
    path: str
    summary: str
    errors: tuple[int, ...]
    answer: type | tuple[type, ...] | None = None
    body: type | None = None
    streamed: Any = None
    failure: type = ErrorResponse
    query: dict[str, dict[str, Any]] = {}


_GENERATION = (400, 404, 408, 413, 429, 499, 500, 503, 507)
_ASKING = (400, 404, 408, 413, 499, 500, 503, 507)
_PAGE: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
}

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
        "get",
        "/v1/chat/completions",
        "List the stored chat completions, by their metadata (metadata[key]=value) or model",
        (400, 404, 503),
        stored_completions.CompletionPage,
        query={**_PAGE, "model": {"type": "string"}},
    ),
    Route(
        "get",
        "/v1/chat/completions/{id}",
        "Return a stored chat completion",
        (404, 503),
        stored_completions.StoredCompletion,
    ),
    Route(
        "post",
        "/v1/chat/completions/{id}",
        "Put other metadata on a stored chat completion",
        (400, 404, 408, 413, 503),
        stored_completions.StoredCompletion,
        stored_completions.CompletionUpdate,
    ),
    Route(
        "delete",
        "/v1/chat/completions/{id}",
        "Forget a stored chat completion",
        (404, 408, 413, 503),
        stored_completions.DeletedCompletion,
    ),
    Route(
        "get",
        "/v1/chat/completions/{id}/messages",
        "List the messages that a stored chat completion was asked with",
        (400, 404, 503),
        stored_completions.MessagePage,
        query=_PAGE,
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
        _ASKING,
        embeddings.EmbeddingList,
        embeddings.EmbeddingRequest,
    ),
    Route(
        "post",
        "/v1/responses",
        "Make a response, whole, streamed or in the background",
        _GENERATION,
        response.Response,
        responses.ResponsesRequest,
        response_events.StreamEvent,
    ),
    Route(
        "post",
        "/v1/responses/input_tokens",
        "Count the tokens of a response's input",
        (400, 404, 408, 413, 499, 500, 503, 507),
        response.InputTokens,
        responses.ResponsesRequest,
    ),
    Route(
        "get",
        "/v1/responses/{id}",
        "Return a response, or its events again",
        (400, 404, 503),
        response.Response,
        streamed=response_events.StreamEvent,
        query={
            "stream": {"type": "boolean"},
            "starting_after": {"type": "integer", "minimum": -1},
            "include": {"type": "array", "items": {"enum": [*responses.INCLUDABLE]}},
            "include_obfuscation": {"type": "boolean"},
        },
    ),
    Route(
        "delete",
        "/v1/responses/{id}",
        "Forget a response",
        (404, 408, 413, 503),
        response.DeletedResponse,
    ),
    Route(
        "post",
        "/v1/responses/{id}/cancel",
        "Stop a response that is made in the background",
        (400, 404, 408, 413, 503),
        response.Response,
    ),
    Route(
        "get",
        "/v1/responses/{id}/input_items",
        "List what a response was made from",
        (400, 404, 503),
        response.ItemList,
        query={
            **_PAGE,
            "include": {"type": "array", "items": {"enum": [*responses.INCLUDABLE]}},
        },
    ),
    Route(
        "post",
        "/v1/messages",
        "Continue a conversation (Anthropic's API), whole or streamed",
        _GENERATION,
        anthropic_message.MessageAnswer,
        anthropic.MessagesRequest,
        anthropic_message.MessageEvent,
        anthropic_message.MessageError,
    ),
    Route(
        "post",
        "/v1/messages/count_tokens",
        "Count a conversation's tokens (Anthropic's API)",
        (400, 404, 408, 413, 499, 500, 503, 507),
        anthropic_message.TokensCount,
        anthropic.CountTokensRequest,
        failure=anthropic_message.MessageError,
    ),
    Route(
        "get",
        "/v1/models",
        "List the models of this server; for Anthropic's clients in their API's shape",
        (400,),
        (models.ModelList, anthropic_models.ModelPage),
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "after_id": {"type": "string"},
            "before_id": {"type": "string"},
        },
    ),
    Route(
        "get",
        "/v1/models/{model}",
        "Describe a model",
        (404,),
        (models.Model, anthropic_models.ModelInfo),
    ),
    Route("get", "/health", "Tell whether requests can be served", (503,), status.Health),
    Route("get", "/mlx/status", "Tell the state of engine and requests", (), status.Status),
    Route("get", "/mlx/events", "Stream the state as it changes", (), streamed=status.Status),
    Route("get", "/mlx/models", "List all models with their state", (), models.CatalogList),
    Route(
        "post",
        "/mlx/models/load",
        "Bring a model into memory",
        (400, 404, 408, 413, 499, 500, 503, 507),
        models.LoadedModel,
        models.LoadOrder,
        models.LoadEvent,
    ),
    Route(
        "post",
        "/mlx/models/unload",
        "Give a model's memory back",
        (400, 404, 408, 413, 499, 500, 503),
        models.UnloadedModel,
        models.UnloadOrder,
    ),
    Route(
        "post",
        "/mlx/models/download",
        "Bring a model from Hugging Face onto this machine",
        (400, 404, 408, 413, 499, 500, 503, 507),
        models.DownloadedModel,
        models.DownloadOrder,
        models.DownloadEvent,
    ),
    Route(
        "post",
        "/mlx/models/cancel",
        "Break off a download or a load",
        (400, 404, 408, 413),
        models.CancelledModel,
        models.CancelOrder,
    ),
    Route(
        "post",
        "/mlx/models/pin",
        "Keep a model in memory, or let it go again",
        (400, 404, 408, 413, 499, 500, 503),
        models.PinnedModel,
        models.PinOrder,
    ),
    Route(
        "post",
        "/mlx/models/keep",
        "Keep the models that this notebook (X-Mlx-Notebook-Kernel) used lately from being idle",
        (500,),
        models.KeptModels,
    ),
    Route(
        "get",
        "/mlx/models/{model}/settings",
        "Show a model's settings",
        (404,),
        models.SettingsAnswer,
    ),
    Route(
        "put",
        "/mlx/models/{model}/settings",
        "Keep settings for a model",
        (400, 404, 408, 413, 503, 507),
        models.SettingsAnswer,
        settings.ModelSettings,
    ),
    Route("post", "/mlx/cancel/{id}", "Stop a request", (404, 408, 413), status.Cancelled),
    Route(
        "post",
        "/tokenize",
        "Show the tokens of a text or a chat",
        _ASKING,
        tokens.Tokens,
        tokens.TokenizeRequest,
    ),
    Route(
        "post",
        "/detokenize",
        "Show the text of tokens",
        _ASKING,
        tokens.Content,
        tokens.DetokenizeRequest,
    ),
    Route(
        "post",
        "/apply-template",
        "Show a chat as the text that the model is fed",
        _ASKING,
        tokens.RenderedPrompt,
        tokens.TemplateRequest,
    ),
    Route("get", "/mlx/traces", "List the last requests", (), traces.TraceList),
    Route("get", "/mlx/traces/{id}", "Show all about a request", (404,), traces.Trace),
    Route("get", "/v1/openapi.json", "Describe this API", ()),
)

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
    for route in ROUTES:
        used = (*_answers(route), route.body, route.streamed, route.failure)
        types.extend(t for t in used if t is not None and t not in types)
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


def _answers(route: Route) -> tuple[type, ...]:
    if isinstance(route.answer, tuple):
        return route.answer
    return () if route.answer is None else (route.answer,)


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answers := [schema_of[answer] for answer in _answers(route)]:
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
            "200": {"description": route.summary, "content": content},
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
