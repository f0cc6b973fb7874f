"""Map LM Studio's routes to handlers. The first pattern that matches counts."""

from mlx_notebook.server.api.lmstudio.lmstudio_chat import LmStudioChatHandler
from mlx_notebook.server.api.lmstudio.lmstudio_completions import (
    LmStudioChatCompletionsHandler,
    LmStudioEmbeddingsHandler,
    LmStudioTextCompletionsHandler,
)
from mlx_notebook.server.api.lmstudio.lmstudio_downloads import (
    LmStudioDownloadHandler,
    LmStudioDownloadsHandler,
    LmStudioDownloadStatusHandler,
)
from mlx_notebook.server.api.lmstudio.lmstudio_handler import LmStudioUnknownRouteHandler
from mlx_notebook.server.api.lmstudio.lmstudio_models import (
    LmStudioLoadHandler,
    LmStudioModelsHandler,
    LmStudioUnloadHandler,
    LmStudioV0ModelHandler,
    LmStudioV0ModelsHandler,
)

LMSTUDIO_ROUTES = (
    ("api/v1/chat/?", LmStudioChatHandler),
    ("api/v1/models/?", LmStudioModelsHandler),
    ("api/v1/models/load/?", LmStudioLoadHandler),
    ("api/v1/models/unload/?", LmStudioUnloadHandler),
    ("api/v1/models/download/?", LmStudioDownloadHandler),
    ("api/v1/models/download/status/?", LmStudioDownloadsHandler),
    ("api/v1/models/download/status/([^/]+)/?", LmStudioDownloadStatusHandler),
    ("api/v0/chat/completions/?", LmStudioChatCompletionsHandler),
    ("api/v0/completions/?", LmStudioTextCompletionsHandler),
    ("api/v0/embeddings/?", LmStudioEmbeddingsHandler),
    ("api/v0/models/?", LmStudioV0ModelsHandler),
    ("api/v0/models/(.+)", LmStudioV0ModelHandler),
    ("api/v[01](?:/.*)?", LmStudioUnknownRouteHandler),
)
