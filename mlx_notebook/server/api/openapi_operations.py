"""The operations of the API with their request and response types, for `v1/openapi.json`."""

from typing import Any, get_args

import msgspec

from mlx_notebook.server.errors import ErrorResponse
from mlx_notebook.server.models import model_settings
from mlx_notebook.server.wire.anthropic import (
    message_batch,
    message_response,
    messages_request,
    model_info,
)
from mlx_notebook.server.wire.cohere import rerank_types
from mlx_notebook.server.wire.native import (
    conversation_types,
    inline_types,
    job_types,
    model_types,
    settings_types,
    status_types,
    tokenize_types,
    trace_types,
    usage_types,
)
from mlx_notebook.server.wire.openai import (
    batch_types,
    chat_request,
    chat_response,
    compaction,
    conversation_object,
    embedding_types,
    file_types,
    response_events,
    response_object,
    responses_request,
    speech_types,
    stored_completion_types,
    text_completion,
    transcription_types,
)


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
_MODEL_ERRORS = (400, 404, 408, 413, 429, 499, 500, 503, 507)
_TRANSCRIPTS = ("text/plain", "application/x-subrip", "text/vtt")
_PAGE: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
}
_INCLUDE: dict[str, dict[str, Any]] = {
    "include": {"type": "array", "items": {"enum": [*responses_request.INCLUDABLE]}},
}
_ITEMS = {**_PAGE, **_INCLUDE}

OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Continue a chat, complete or streamed",
        _MODEL_ERRORS,
        chat_response.ChatCompletion,
        chat_request.ChatCompletionRequest,
        chat_response.ChatCompletionChunk,
    ),
    Operation(
        "get",
        "/v1/chat/completions",
        "List stored chat completions, filtered by metadata (metadata[key]=value) or model",
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
        "Replace the metadata of a stored chat completion",
        (400, 404, 408, 413, 503),
        stored_completion_types.StoredCompletion,
        stored_completion_types.CompletionUpdate,
    ),
    Operation(
        "delete",
        "/v1/chat/completions/{id}",
        "Delete a stored chat completion",
        (404, 408, 413, 503),
        stored_completion_types.DeletedCompletion,
    ),
    Operation(
        "get",
        "/v1/chat/completions/{id}/messages",
        "List the request messages of a stored chat completion",
        (400, 404, 503),
        stored_completion_types.MessagePage,
        query=_PAGE,
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continue a text, complete or streamed",
        _MODEL_ERRORS,
        text_completion.TextCompletion,
        text_completion.CompletionRequest,
        text_completion.TextCompletion,
    ),
    Operation(
        "post",
        "/v1/embeddings",
        "Embed texts as vectors",
        _MODEL_ERRORS,
        embedding_types.EmbeddingList,
        embedding_types.EmbeddingRequest,
    ),
    *(
        Operation(
            "post",
            f"/{version}/rerank",
            "Rank documents by their relevance to a query (Cohere's and Jina's API)",
            _MODEL_ERRORS,
            rerank_types.RankedDocuments,
            rerank_types.RerankRequest,
        )
        for version in ("v1", "v2")
    ),
    Operation(
        "post",
        "/v1/batches",
        "Create a batch from a file of requests",
        (400, 404, 408, 413, 429, 503, 507),
        batch_types.BatchObject,
        batch_types.BatchRequest,
    ),
    Operation(
        "get",
        "/v1/batches",
        "List batches, newest first",
        (400, 503),
        batch_types.BatchPage,
        query={"limit": _PAGE["limit"], "after": _PAGE["after"]},
    ),
    Operation(
        "get",
        "/v1/batches/{id}",
        "Return a batch with its state",
        (404, 503),
        batch_types.BatchObject,
    ),
    Operation(
        "post",
        "/v1/batches/{id}/cancel",
        "Cancel a batch",
        (400, 404, 408, 413, 503),
        batch_types.BatchObject,
    ),
    Operation(
        "post",
        "/v1/files",
        "Upload a file",
        (400, 408, 413, 503, 507),
        file_types.FileObject,
        file_types.FileUpload,
        form=True,
    ),
    Operation(
        "get",
        "/v1/files",
        "List files, newest first by default",
        (400, 503),
        file_types.FilePage,
        query={
            **_PAGE,
            "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "purpose": {"enum": [*get_args(file_types.FilePurpose)]},
        },
    ),
    Operation(
        "get",
        "/v1/files/{id}",
        "Describe a file",
        (404, 503),
        file_types.FileObject,
    ),
    Operation(
        "get",
        "/v1/files/{id}/content",
        "Return the bytes of a file",
        (404, 503),
        media="application/octet-stream",
    ),
    Operation(
        "delete",
        "/v1/files/{id}",
        "Delete a file",
        (404, 408, 413, 503),
        file_types.DeletedFile,
    ),
    Operation(
        "post",
        "/v1/audio/speech",
        "Read a text aloud",
        _MODEL_ERRORS,
        body=speech_types.SpeechRequest,
        media="audio/mpeg",
        others=("audio/ogg", "audio/flac", "audio/wav", "audio/pcm"),
    ),
    Operation(
        "post",
        "/v1/audio/transcriptions",
        "Write down what is spoken, complete or streamed",
        _MODEL_ERRORS,
        (transcription_types.Transcript, transcription_types.VerboseTranscript),
        transcription_types.TranscriptionForm,
        transcription_types.TranscriptEvent,
        form=True,
        others=_TRANSCRIPTS,
    ),
    Operation(
        "post",
        "/v1/audio/translations",
        "Write down in English what is spoken",
        _MODEL_ERRORS,
        (transcription_types.Transcript, transcription_types.VerboseTranscript),
        transcription_types.TranslationForm,
        form=True,
        others=_TRANSCRIPTS,
    ),
    Operation(
        "post",
        "/v1/responses",
        "Create a response: complete, streamed or in the background",
        (*_MODEL_ERRORS, 409),
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
        "post",
        "/v1/responses/compact",
        "Replace what the model has said in a conversation by a summary",
        _MODEL_ERRORS,
        compaction.CompactedResponse,
        compaction.CompactRequest,
    ),
    Operation(
        "get",
        "/v1/responses/{id}",
        "Return a response, or stream its events again",
        (400, 404, 503),
        response_object.Response,
        streamed=response_events.ResponseStreamEvent,
        query={
            "stream": {"type": "boolean"},
            "starting_after": {"type": "integer", "minimum": -1},
            **_INCLUDE,
            "include_obfuscation": {"type": "boolean"},
        },
    ),
    Operation(
        "delete",
        "/v1/responses/{id}",
        "Delete a response",
        (404, 408, 413, 503),
        response_object.DeletedResponse,
    ),
    Operation(
        "post",
        "/v1/responses/{id}/cancel",
        "Cancel a background response",
        (400, 404, 408, 413, 503),
        response_object.Response,
    ),
    Operation(
        "get",
        "/v1/responses/{id}/input_items",
        "List the input items of a response",
        (400, 404, 503),
        response_object.ItemList,
        query=_ITEMS,
    ),
    Operation(
        "post",
        "/v1/conversations",
        "Create a conversation that responses read and extend",
        (400, 404, 408, 413, 503),
        conversation_object.StoredConversation,
        conversation_object.ConversationRequest,
    ),
    Operation(
        "get",
        "/v1/conversations/{id}",
        "Return a conversation",
        (404, 503),
        conversation_object.StoredConversation,
    ),
    Operation(
        "post",
        "/v1/conversations/{id}",
        "Replace the metadata of a conversation",
        (400, 404, 408, 413, 503),
        conversation_object.StoredConversation,
        conversation_object.ConversationUpdate,
    ),
    Operation(
        "delete",
        "/v1/conversations/{id}",
        "Delete a conversation with its items",
        (404, 408, 413, 503),
        conversation_object.DeletedStoredConversation,
    ),
    Operation(
        "get",
        "/v1/conversations/{id}/items",
        "List the items of a conversation",
        (400, 404, 503),
        response_object.ItemList,
        query=_ITEMS,
    ),
    Operation(
        "post",
        "/v1/conversations/{id}/items",
        "Add items to a conversation",
        (400, 404, 408, 413, 503),
        response_object.ItemList,
        conversation_object.ItemsRequest,
        query=_INCLUDE,
    ),
    Operation(
        "get",
        "/v1/conversations/{id}/items/{item}",
        "Return an item of a conversation",
        (400, 404, 503),
        dict[str, Any],
        query=_INCLUDE,
    ),
    Operation(
        "delete",
        "/v1/conversations/{id}/items/{item}",
        "Delete an item of a conversation",
        (404, 408, 413, 503),
        conversation_object.StoredConversation,
    ),
    Operation(
        "post",
        "/v1/messages",
        "Continue a conversation (Anthropic's API), complete or streamed",
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
        "post",
        "/v1/messages/batches",
        "Create a batch of messages (Anthropic's API)",
        (400, 408, 413, 429, 503, 507),
        message_batch.MessageBatch,
        message_batch.MessageBatchRequest,
        failure=message_response.MessageError,
    ),
    Operation(
        "get",
        "/v1/messages/batches",
        "List batches of messages, newest first (Anthropic's API)",
        (400, 503),
        message_batch.MessageBatchPage,
        failure=message_response.MessageError,
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "after_id": {"type": "string"},
            "before_id": {"type": "string"},
        },
    ),
    Operation(
        "get",
        "/v1/messages/batches/{id}",
        "Return a batch of messages with its state (Anthropic's API)",
        (404, 503),
        message_batch.MessageBatch,
        failure=message_response.MessageError,
    ),
    Operation(
        "delete",
        "/v1/messages/batches/{id}",
        "Delete a batch of messages that has ended (Anthropic's API)",
        (400, 404, 408, 413, 503),
        message_batch.DeletedMessageBatch,
        failure=message_response.MessageError,
    ),
    Operation(
        "post",
        "/v1/messages/batches/{id}/cancel",
        "Cancel a batch of messages (Anthropic's API)",
        (400, 404, 408, 413, 503),
        message_batch.MessageBatch,
        failure=message_response.MessageError,
    ),
    Operation(
        "get",
        "/v1/messages/batches/{id}/results",
        "Return the results of a batch of messages, one a line (Anthropic's API)",
        (400, 404, 503),
        failure=message_response.MessageError,
        media="application/x-jsonl",
    ),
    Operation(
        "get",
        "/v1/models",
        "List the models of this server, for Anthropic's clients in the format of their API",
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
    Operation(
        "get",
        "/health",
        "Report whether the server can answer requests",
        (503,),
        status_types.Health,
    ),
    Operation(
        "get",
        "/mlx/completions/inline",
        "Tell whether inline completions are available, with which model, and if not, why",
        (),
        inline_types.InlineAvailability,
    ),
    Operation(
        "post",
        "/mlx/completions/inline",
        "Stream the text that belongs at the cursor of an editor",
        (400, 404, 408, 409, 413, 429, 499, 500, 503, 507),
        body=inline_types.InlineCompletionRequest,
        streamed=inline_types.InlineEvent,
    ),
    Operation(
        "get",
        "/mlx/conversations",
        "List the conversations of JupyterLab's sidebar, about one notebook or about all",
        (503,),
        conversation_types.ConversationList,
        query={"notebook": {"type": "string"}},
    ),
    Operation(
        "get",
        "/mlx/conversations/{id}",
        "Return a conversation",
        (404, 503),
        conversation_types.SavedConversation,
    ),
    Operation(
        "put",
        "/mlx/conversations/{id}",
        "Save a conversation",
        (400, 404, 408, 413, 503, 507),
        conversation_types.ConversationSummary,
        conversation_types.SavedConversation,
    ),
    Operation(
        "patch",
        "/mlx/conversations/{id}",
        "Change the title of a conversation or its notebook",
        (400, 404, 408, 413, 503),
        conversation_types.ConversationSummary,
        conversation_types.ConversationChange,
    ),
    Operation(
        "delete",
        "/mlx/conversations/{id}",
        "Delete a conversation",
        (404, 408, 413, 503),
        conversation_types.DeletedConversation,
    ),
    Operation(
        "get",
        "/mlx/status",
        "Return the state of engine, models and requests",
        (),
        status_types.ServerStatus,
    ),
    Operation(
        "get",
        "/mlx/events",
        "Stream the state whenever it changes",
        (),
        streamed=status_types.ServerStatus,
    ),
    Operation(
        "get", "/mlx/models", "List all models with their state", (), model_types.CatalogList
    ),
    Operation(
        "post",
        "/mlx/models/load",
        "Load a model into memory",
        (400, 404, 408, 413, 499, 500, 503, 507),
        model_types.LoadedModel,
        model_types.LoadRequest,
        model_types.LoadEvent,
    ),
    Operation(
        "post",
        "/mlx/models/unload",
        "Unload a model from memory",
        (400, 404, 408, 413, 499, 500, 503),
        model_types.UnloadedModel,
        model_types.UnloadRequest,
    ),
    Operation(
        "post",
        "/mlx/models/download",
        "Download a model from Hugging Face",
        (400, 404, 408, 413, 499, 500, 503, 507),
        model_types.DownloadedModel,
        model_types.DownloadRequest,
        model_types.DownloadEvent,
    ),
    Operation(
        "post",
        "/mlx/models/cancel",
        "Cancel a download or a load, and the requests that wait for it",
        (400, 404, 408, 413),
        model_types.CancelledModel,
        model_types.CancelModelRequest,
    ),
    Operation(
        "post",
        "/mlx/models/pin",
        "Pin a model in memory, or unpin it",
        (400, 404, 408, 413, 499, 500, 503),
        model_types.PinnedModel,
        model_types.PinRequest,
    ),
    Operation(
        "post",
        "/mlx/models/keep",
        "Keep the models in memory that this notebook (X-Mlx-Notebook-Kernel) used recently",
        (500,),
        model_types.KeptModels,
    ),
    Operation(
        "get",
        "/mlx/models/{model}/settings",
        "Return a model's settings",
        (404,),
        model_types.SettingsResponse,
    ),
    Operation(
        "put",
        "/mlx/models/{model}/settings",
        "Save settings for a model",
        (400, 404, 408, 413, 503, 507),
        model_types.SettingsResponse,
        model_settings.ModelSettings,
    ),
    Operation(
        "get",
        "/mlx/settings",
        "Show the server's settings that may be changed while it runs",
        (),
        settings_types.ServerSettings,
    ),
    Operation(
        "patch",
        "/mlx/settings",
        "Change settings of the server, for an admin",
        (*_MODEL_ERRORS, 409),
        settings_types.ServerSettings,
        settings_types.SettingChanges,
    ),
    Operation(
        "post",
        "/mlx/cancel/{id}",
        "Cancel a request",
        (404, 408, 413),
        status_types.CancelledRequest,
    ),
    Operation("get", "/mlx/jobs", "List long jobs, such as fine-tuning", (), job_types.JobList),
    Operation(
        "post",
        "/mlx/jobs",
        "Create a job, which goes on when the client leaves",
        (*_MODEL_ERRORS, 409),
        job_types.JobStatus,
        job_types.JobRequest,
    ),
    Operation(
        "get",
        "/mlx/jobs/{id}",
        "Return a job with what it has recorded, or wait until it has ended",
        (400, 404),
        job_types.JobDetail,
        query={"wait": {"type": "boolean"}},
    ),
    Operation(
        "get",
        "/mlx/jobs/{id}/events",
        "Stream a job until it ends: its state, and what is new in its records",
        (400, 404),
        streamed=job_types.JobDetail,
        query={"after": {"type": "integer", "minimum": 0}},
    ),
    Operation(
        "post",
        "/mlx/jobs/{id}/cancel",
        "Stop a job, and keep what it has done unless 'keep' is false",
        (400, 404, 408, 413),
        job_types.JobStatus,
        job_types.StopJobRequest,
    ),
    Operation(
        "post",
        "/tokenize",
        "Return the tokens of a text or a chat",
        _MODEL_ERRORS,
        tokenize_types.TokenizeResponse,
        tokenize_types.TokenizeRequest,
    ),
    Operation(
        "post",
        "/detokenize",
        "Return the text of tokens",
        _MODEL_ERRORS,
        tokenize_types.DetokenizeResponse,
        tokenize_types.DetokenizeRequest,
    ),
    Operation(
        "post",
        "/apply-template",
        "Return a chat rendered with the model's chat template",
        _MODEL_ERRORS,
        tokenize_types.TemplateResponse,
        tokenize_types.TemplateRequest,
    ),
    Operation(
        "get",
        "/mlx/traces",
        "List the traces of recent requests, or of those that contain the text 'search'",
        (),
        trace_types.TraceList,
        query={"search": {"type": "string"}, "user": {"type": "string"}},
    ),
    Operation(
        "get",
        "/mlx/traces/{id}",
        "Return the trace of a request",
        (404,),
        trace_types.Trace,
        query={"user": {"type": "string"}},
    ),
    Operation(
        "get",
        "/mlx/usage",
        "Return today's usage: of all users for an admin, else of the caller",
        (),
        usage_types.UsageReport,
    ),
    Operation("get", "/mlx/metrics", "Return the usage by user for Prometheus", (), str),
    Operation("get", "/v1/openapi.json", "Describe this API", ()),
)
