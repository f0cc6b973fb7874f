"""The operations of the API with the types that they take and answer, for `v1/openapi.json`."""

from typing import Any

import msgspec

from mlx_notebook.server.errors import ErrorResponse
from mlx_notebook.server.models import model_settings
from mlx_notebook.server.wire.anthropic import message_response, messages_request, model_info
from mlx_notebook.server.wire.native import model_types, status_types, tokenize_types, trace_types
from mlx_notebook.server.wire.openai import (
    chat_request,
    chat_response,
    embedding_types,
    response_events,
    response_object,
    responses_request,
    stored_completion_types,
    text_completion,
)


class Operation(msgspec.Struct):
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


# What a request to a model can end with.
_MODEL_ERRORS = (400, 404, 408, 413, 429, 499, 500, 503, 507)
_PAGE: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
}

OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Continue a chat, whole or streamed",
        _MODEL_ERRORS,
        chat_response.ChatCompletion,
        chat_request.ChatCompletionRequest,
        chat_response.ChatCompletionChunk,
    ),
    Operation(
        "get",
        "/v1/chat/completions",
        "List the stored chat completions, by their metadata (metadata[key]=value) or model",
        (400, 404, 503),
        stored_completion_types.CompletionPage,
        query={**_PAGE, "model": {"type": "string"}},
    ),
    Operation(
        "get",
        "/v1/chat/completions/{id}",
        "Return a stored chat completion",
        (404, 503),
        stored_completion_types.StoredCompletion,
    ),
    Operation(
        "post",
        "/v1/chat/completions/{id}",
        "Put other metadata on a stored chat completion",
        (400, 404, 408, 413, 503),
        stored_completion_types.StoredCompletion,
        stored_completion_types.CompletionUpdate,
    ),
    Operation(
        "delete",
        "/v1/chat/completions/{id}",
        "Forget a stored chat completion",
        (404, 408, 413, 503),
        stored_completion_types.DeletedCompletion,
    ),
    Operation(
        "get",
        "/v1/chat/completions/{id}/messages",
        "List the messages that a stored chat completion was asked with",
        (400, 404, 503),
        stored_completion_types.MessagePage,
        query=_PAGE,
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continue a text, whole or streamed",
        _MODEL_ERRORS,
        text_completion.TextCompletion,
        text_completion.CompletionRequest,
        text_completion.TextCompletion,
    ),
    Operation(
        "post",
        "/v1/embeddings",
        "Turn texts into vectors",
        _MODEL_ERRORS,
        embedding_types.EmbeddingList,
        embedding_types.EmbeddingRequest,
    ),
    Operation(
        "post",
        "/v1/responses",
        "Make a response, whole, streamed or in the background",
        _MODEL_ERRORS,
        response_object.Response,
        responses_request.ResponsesRequest,
        response_events.ResponseStreamEvent,
    ),
    Operation(
        "post",
        "/v1/responses/input_tokens",
        "Count the tokens of a response's input",
        _MODEL_ERRORS,
        response_object.InputTokens,
        responses_request.ResponsesRequest,
    ),
    Operation(
        "get",
        "/v1/responses/{id}",
        "Return a response, or its events again",
        (400, 404, 503),
        response_object.Response,
        streamed=response_events.ResponseStreamEvent,
        query={
            "stream": {"type": "boolean"},
            "starting_after": {"type": "integer", "minimum": -1},
            "include": {"type": "array", "items": {"enum": [*responses_request.INCLUDABLE]}},
            "include_obfuscation": {"type": "boolean"},
        },
    ),
    Operation(
        "delete",
        "/v1/responses/{id}",
        "Forget a response",
        (404, 408, 413, 503),
        response_object.DeletedResponse,
    ),
    Operation(
        "post",
        "/v1/responses/{id}/cancel",
        "Stop a response that is made in the background",
        (400, 404, 408, 413, 503),
        response_object.Response,
    ),
    Operation(
        "get",
        "/v1/responses/{id}/input_items",
        "List what a response was made from",
        (400, 404, 503),
        response_object.ItemList,
        query={
            **_PAGE,
            "include": {"type": "array", "items": {"enum": [*responses_request.INCLUDABLE]}},
        },
    ),
    Operation(
        "post",
        "/v1/messages",
        "Continue a conversation (Anthropic's API), whole or streamed",
        _MODEL_ERRORS,
        message_response.MessageResponse,
        messages_request.MessagesRequest,
        message_response.MessageEvent,
        message_response.MessageError,
    ),
    Operation(
        "post",
        "/v1/messages/count_tokens",
        "Count a conversation's tokens (Anthropic's API)",
        _MODEL_ERRORS,
        message_response.MessageTokensCount,
        messages_request.CountTokensRequest,
        failure=message_response.MessageError,
    ),
    Operation(
        "get",
        "/v1/models",
        "List the models of this server; for Anthropic's clients in their API's shape",
        (400,),
        (model_types.ModelList, model_info.ModelPage),
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "after_id": {"type": "string"},
            "before_id": {"type": "string"},
            "lifecycle": {"type": "array", "items": {"enum": ["active", "deprecated", "retired"]}},
        },
    ),
    Operation(
        "get",
        "/v1/models/{model}",
        "Describe a model",
        (404,),
        (model_types.ModelCard, model_info.ModelInfo),
    ),
    Operation("get", "/health", "Tell whether requests can be served", (503,), status_types.Health),
    Operation(
        "get", "/mlx/status", "Tell the state of engine and requests", (), status_types.ServerStatus
    ),
    Operation(
        "get",
        "/mlx/events",
        "Stream the state as it changes",
        (),
        streamed=status_types.ServerStatus,
    ),
    Operation(
        "get", "/mlx/models", "List all models with their state", (), model_types.CatalogList
    ),
    Operation(
        "post",
        "/mlx/models/load",
        "Bring a model into memory",
        (400, 404, 408, 413, 499, 500, 503, 507),
        model_types.LoadedModel,
        model_types.LoadRequest,
        model_types.LoadEvent,
    ),
    Operation(
        "post",
        "/mlx/models/unload",
        "Give a model's memory back",
        (400, 404, 408, 413, 499, 500, 503),
        model_types.UnloadedModel,
        model_types.UnloadRequest,
    ),
    Operation(
        "post",
        "/mlx/models/download",
        "Bring a model from Hugging Face onto this machine",
        (400, 404, 408, 413, 499, 500, 503, 507),
        model_types.DownloadedModel,
        model_types.DownloadRequest,
        model_types.DownloadEvent,
    ),
    Operation(
        "post",
        "/mlx/models/cancel",
        "Break off a download or a load, and end the requests that wait for it",
        (400, 404, 408, 413),
        model_types.CancelledModel,
        model_types.CancelModelRequest,
    ),
    Operation(
        "post",
        "/mlx/models/pin",
        "Keep a model in memory, or let it go again",
        (400, 404, 408, 413, 499, 500, 503),
        model_types.PinnedModel,
        model_types.PinRequest,
    ),
    Operation(
        "post",
        "/mlx/models/keep",
        "Keep the models that this notebook (X-Mlx-Notebook-Kernel) used lately from being idle",
        (500,),
        model_types.KeptModels,
    ),
    Operation(
        "get",
        "/mlx/models/{model}/settings",
        "Show a model's settings",
        (404,),
        model_types.SettingsResponse,
    ),
    Operation(
        "put",
        "/mlx/models/{model}/settings",
        "Keep settings for a model",
        (400, 404, 408, 413, 503, 507),
        model_types.SettingsResponse,
        model_settings.ModelSettings,
    ),
    Operation(
        "post", "/mlx/cancel/{id}", "Stop a request", (404, 408, 413), status_types.CancelledRequest
    ),
    Operation(
        "post",
        "/tokenize",
        "Show the tokens of a text or a chat",
        _MODEL_ERRORS,
        tokenize_types.TokenizeResponse,
        tokenize_types.TokenizeRequest,
    ),
    Operation(
        "post",
        "/detokenize",
        "Show the text of tokens",
        _MODEL_ERRORS,
        tokenize_types.DetokenizeResponse,
        tokenize_types.DetokenizeRequest,
    ),
    Operation(
        "post",
        "/apply-template",
        "Show a chat as the text that the model is fed",
        _MODEL_ERRORS,
        tokenize_types.TemplateResponse,
        tokenize_types.TemplateRequest,
    ),
    Operation(
        "get",
        "/mlx/traces",
        "List the last requests, all or those that hold the text 'search'",
        (),
        trace_types.TraceList,
        query={"search": {"type": "string"}},
    ),
    Operation("get", "/mlx/traces/{id}", "Show all about a request", (404,), trace_types.Trace),
    Operation("get", "/v1/openapi.json", "Describe this API", ()),
)
