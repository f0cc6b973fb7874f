"""Map routes below the base URL to handlers. The first pattern that matches counts."""

from mlx_notebook.server.api.anthropic.message_batches import (
    CancelMessageBatchHandler,
    MessageBatchesHandler,
    MessageBatchHandler,
    MessageBatchResultsHandler,
)
from mlx_notebook.server.api.anthropic.messages import (
    CountTokensHandler,
    MessagesHandler,
    UnknownMessagesRouteHandler,
)
from mlx_notebook.server.api.audio.speech import SpeechHandler
from mlx_notebook.server.api.audio.transcriptions import (
    TranscriptionsHandler,
    TranslationsHandler,
)
from mlx_notebook.server.api.batches.batches import (
    BatchesHandler,
    BatchHandler,
    CancelBatchHandler,
)
from mlx_notebook.server.api.batches.files import FileContentHandler, FileHandler, FilesHandler
from mlx_notebook.server.api.cohere.rerank import RerankHandler, RerankV2Handler
from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.api.jobs.job_routes import (
    JobEventsHandler,
    JobHandler,
    JobsHandler,
    StopJobHandler,
)
from mlx_notebook.server.api.native.conversations import (
    ConversationHandler,
    ConversationsHandler,
)
from mlx_notebook.server.api.native.inline_completions import InlineCompletionHandler
from mlx_notebook.server.api.native.model_management import (
    CancelModelHandler,
    CatalogHandler,
    DownloadHandler,
    KeepHandler,
    LoadHandler,
    PinHandler,
    SettingsHandler,
    UnloadHandler,
)
from mlx_notebook.server.api.native.server_settings import ServerSettingsHandler
from mlx_notebook.server.api.native.status import (
    CancelHandler,
    EventsHandler,
    HealthHandler,
    StatusHandler,
)
from mlx_notebook.server.api.native.tokenize import (
    ApplyTemplateHandler,
    DetokenizeHandler,
    TokenizeHandler,
)
from mlx_notebook.server.api.native.traces import TraceHandler, TracesHandler
from mlx_notebook.server.api.native.usage_report import UsageHandler, UserMetricsHandler
from mlx_notebook.server.api.openai.chat_completions import ChatCompletionsHandler
from mlx_notebook.server.api.openai.completions import CompletionsHandler
from mlx_notebook.server.api.openai.embeddings import EmbeddingsHandler
from mlx_notebook.server.api.openai.list_models import ModelHandler, ModelsHandler
from mlx_notebook.server.api.openai.stored_completions import (
    StoredCompletionHandler,
    StoredMessagesHandler,
)
from mlx_notebook.server.api.openapi.document import OpenApiHandler
from mlx_notebook.server.api.responses.compact import CompactHandler
from mlx_notebook.server.api.responses.response_conversations import (
    ConversationItemHandler,
    ConversationItemsHandler,
    StoredConversationHandler,
    StoredConversationsHandler,
)
from mlx_notebook.server.api.responses.response_socket import ResponseSocketHandler
from mlx_notebook.server.api.responses.responses import InputTokensHandler, ResponsesHandler
from mlx_notebook.server.api.responses.stored_responses import (
    CancelResponseHandler,
    InputItemsHandler,
    ResponseHandler,
)
from mlx_notebook.server.api.routing.foreign_apis import routes_below_mlx

ROUTES = (
    ("v1/chat/completions/?", ChatCompletionsHandler),
    ("v1/chat/completions/([^/]+)/?", StoredCompletionHandler),
    ("v1/chat/completions/([^/]+)/messages/?", StoredMessagesHandler),
    ("v1/responses/?", ResponsesHandler),
    ("v1/responses/input_tokens/?", InputTokensHandler),
    ("v1/responses/compact/?", CompactHandler),
    ("v1/responses/([^/]+)/?", ResponseHandler),
    ("v1/responses/([^/]+)/cancel/?", CancelResponseHandler),
    ("v1/responses/([^/]+)/input_items/?", InputItemsHandler),
    ("v1/conversations/?", StoredConversationsHandler),
    ("v1/conversations/([^/]+)/?", StoredConversationHandler),
    ("v1/conversations/([^/]+)/items/?", ConversationItemsHandler),
    ("v1/conversations/([^/]+)/items/([^/]+)/?", ConversationItemHandler),
    ("v1/messages/?", MessagesHandler),
    ("v1/messages/count_tokens/?", CountTokensHandler),
    ("v1/messages/batches/?", MessageBatchesHandler),
    ("v1/messages/batches/([^/]+)/?", MessageBatchHandler),
    ("v1/messages/batches/([^/]+)/cancel/?", CancelMessageBatchHandler),
    ("v1/messages/batches/([^/]+)/results/?", MessageBatchResultsHandler),
    ("v1/messages/.+", UnknownMessagesRouteHandler),
    ("v1/completions/?", CompletionsHandler),
    ("v1/embeddings/?", EmbeddingsHandler),
    ("v1/batches/?", BatchesHandler),
    ("v1/batches/([^/]+)/?", BatchHandler),
    ("v1/batches/([^/]+)/cancel/?", CancelBatchHandler),
    ("v1/files/?", FilesHandler),
    ("v1/files/([^/]+)/?", FileHandler),
    ("v1/files/([^/]+)/content/?", FileContentHandler),
    ("v1/audio/speech/?", SpeechHandler),
    ("v1/audio/transcriptions/?", TranscriptionsHandler),
    ("v1/audio/translations/?", TranslationsHandler),
    ("v1/rerank/?", RerankHandler),
    ("v2/rerank/?", RerankV2Handler),
    ("tokenize/?", TokenizeHandler),
    ("detokenize/?", DetokenizeHandler),
    ("apply-template/?", ApplyTemplateHandler),
    ("v1/models/?", ModelsHandler),
    ("v1/models/(.+)", ModelHandler),
    (r"v1/openapi\.json", OpenApiHandler),
    ("health/?", HealthHandler),
    ("mlx/completions/inline/?", InlineCompletionHandler),
    ("mlx/conversations/?", ConversationsHandler),
    ("mlx/conversations/([A-Za-z0-9_-]{1,64})/?", ConversationHandler),
    ("mlx/status/?", StatusHandler),
    ("mlx/events/?", EventsHandler),
    ("mlx/models/?", CatalogHandler),
    ("mlx/models/load/?", LoadHandler),
    ("mlx/models/unload/?", UnloadHandler),
    ("mlx/models/download/?", DownloadHandler),
    ("mlx/models/cancel/?", CancelModelHandler),
    ("mlx/models/pin/?", PinHandler),
    ("mlx/models/keep/?", KeepHandler),
    ("mlx/models/(.+)/settings/?", SettingsHandler),
    ("mlx/settings/?", ServerSettingsHandler),
    ("mlx/cancel/([^/]+)", CancelHandler),
    ("mlx/jobs/?", JobsHandler),
    ("mlx/jobs/([^/]+)/?", JobHandler),
    ("mlx/jobs/([^/]+)/events/?", JobEventsHandler),
    ("mlx/jobs/([^/]+)/cancel/?", StopJobHandler),
    ("mlx/usage/?", UsageHandler),
    ("mlx/metrics/?", UserMetricsHandler),
    ("mlx/traces/?", TracesHandler),
    ("mlx/traces/([^/]+)", TraceHandler),
    *routes_below_mlx(),
    ("(?:v1|v2/rerank|mlx)(?:/.*)?", UnknownRouteHandler),
)

SOCKETS = (("v1/responses/?", ResponseSocketHandler),)
"""Routes of requests for a WebSocket, which are looked up first."""
