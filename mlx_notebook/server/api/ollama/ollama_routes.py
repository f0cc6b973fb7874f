"""Map Ollama's routes to handlers. The first pattern that matches counts."""

from mlx_notebook.server.api.ollama.ollama_embeddings import (
    OllamaEmbeddingsHandler,
    OllamaEmbedHandler,
)
from mlx_notebook.server.api.ollama.ollama_generation import (
    OllamaChatHandler,
    OllamaGenerateHandler,
)
from mlx_notebook.server.api.ollama.ollama_handler import OllamaUnknownRouteHandler
from mlx_notebook.server.api.ollama.ollama_models import (
    OllamaBlobsHandler,
    OllamaCopyHandler,
    OllamaCreateHandler,
    OllamaDeleteHandler,
    OllamaPullHandler,
    OllamaPushHandler,
    OllamaRunningHandler,
    OllamaShowHandler,
    OllamaTagsHandler,
    OllamaVersionHandler,
)

OLLAMA_ROUTES = (
    ("api/chat/?", OllamaChatHandler),
    ("api/generate/?", OllamaGenerateHandler),
    ("api/embed/?", OllamaEmbedHandler),
    ("api/embeddings/?", OllamaEmbeddingsHandler),
    ("api/tags/?", OllamaTagsHandler),
    ("api/ps/?", OllamaRunningHandler),
    ("api/show/?", OllamaShowHandler),
    ("api/pull/?", OllamaPullHandler),
    ("api/version/?", OllamaVersionHandler),
    ("api/create/?", OllamaCreateHandler),
    ("api/copy/?", OllamaCopyHandler),
    ("api/delete/?", OllamaDeleteHandler),
    ("api/push/?", OllamaPushHandler),
    ("api/blobs(?:/.*)?", OllamaBlobsHandler),
    ("api(?:/.*)?", OllamaUnknownRouteHandler),
)
