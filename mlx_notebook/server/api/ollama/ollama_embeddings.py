"""Handle Ollama's `api/embed`, and `api/embeddings`, which it replaced."""

import time

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.ollama.ollama_handler import OllamaHandler
from mlx_notebook.server.api.text_embedding import TextEmbedding, embedded_texts, to_numbers
from mlx_notebook.server.wire.ollama import ollama_model_types as wire
from mlx_notebook.server.wire.ollama.ollama_responses import nanoseconds


class OllamaEmbedHandler(OllamaHandler):
    """Embed texts."""

    endpoint = "api/embed"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a vector for each text."""
        request = self.decoded(wire.EMBED_DECODER)
        texts, keeps = request.texts, request.keeps
        name = await self.known_name(request.model)
        if not texts:
            model, vectors, tokens = (await self.load(name)).resident.model, [], 0
        else:
            wanted = TextEmbedding(
                name, texts, request.dimensions, self._truncation(name, request.truncate)
            )
            model, embedded = await embedded_texts(self, wanted)
            vectors, tokens = list(map(to_numbers, embedded.vectors)), embedded.tokens
        self.keep(model, keeps, "keep_alive")
        took = nanoseconds(time.monotonic() - self.arrived)
        self.answer(wire.OllamaEmbeddings(request.model, vectors, took, 0, tokens))
        await self.keep_or_unload()

    def _truncation(self, name: str, wanted: bool | None) -> int | None:
        """Return how inputs are cut: as many tokens as the model takes, unless that is not wanted.

        An upstream cuts inputs as it likes, and is asked only if the request says so.
        """
        catalog = self.services.catalog
        if wanted is None and catalog.source_of(catalog.canonical(name)) == "upstream":
            return None
        return None if wanted is False else -1


class OllamaEmbeddingsHandler(OllamaEmbedHandler):
    """Embed one text."""

    endpoint = "api/embeddings"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with its vector."""
        request = self.decoded(wire.EMBEDDING_DECODER)
        keeps = request.keeps
        name = await self.known_name(request.model)
        if not request.prompt:
            model, vector = (await self.load(name)).resident.model, []
        else:
            wanted = TextEmbedding(
                name, [request.prompt], truncate=self._truncation(name, None), param="prompt"
            )
            model, embedded = await embedded_texts(self, wanted)
            vector = to_numbers(embedded.vectors[0])
        self.keep(model, keeps, "keep_alive")
        self.answer(wire.OllamaEmbedding(vector))
        await self.keep_or_unload()
