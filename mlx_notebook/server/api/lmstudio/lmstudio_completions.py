"""Handle LM Studio's `api/v0/chat/completions`, `api/v0/completions` and `api/v0/embeddings`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import FillPrompt, Generate, Prompt, Sampling
from mlx_notebook.server.api.foreign.model_memory import ModelMemoryHandler
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.lmstudio.lmstudio_handler import LmStudioV0Handler
from mlx_notebook.server.api.lmstudio.lmstudio_models import file_format
from mlx_notebook.server.api.openai.chat_completions import ChatCompletionsBase
from mlx_notebook.server.api.openai.completions import CompletionsHandler
from mlx_notebook.server.api.openai.embeddings import EmbeddingsHandler
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.wire.lmstudio import lmstudio_completion_types as wire
from mlx_notebook.server.wire.openai.chat_response import ChatCompletion
from mlx_notebook.server.wire.openai.text_completion import TextCompletion


class LmStudioStatsHandler(LmStudioV0Handler, ModelMemoryHandler):
    """Base of both routes. A streamed answer has OpenAI's chunks, without statistics."""

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # For how many seconds the request keeps its model.
        self._ttl: int | None = None
        self._entry: CatalogEntry | None = None
        self._streams: list[RequestStream] = []

    async def command(
        self,
        id: str,
        model: str | None,
        prompt: Prompt | FillPrompt,
        sampling: Sampling,
        n: int = 1,
        **options: Any,
    ) -> Generate:
        """Return the command to run a request, and note its model."""
        command = await super().command(id, model, prompt, sampling, n, **options)
        self._entry = await self.services.catalog.find(command.model, await self.settings_user())
        self.keep(command.model, self._ttl, "ttl")
        return command

    @asynccontextmanager
    async def running(self, command: Generate) -> AsyncIterator[RequestStream]:
        """Run a request for this client, and note its stream."""
        async with super().running(command) as stream:
            self._streams.append(stream)
            yield stream

    def answer(self, value: Any) -> None:
        """Finish the response, with statistics."""
        if isinstance(value, ChatCompletion | TextCompletion):
            value = wire.with_stats(value, self._stats(), self._info())
        super().answer(value)

    def _stats(self) -> wire.LmStudioStats:
        done = [stream.done for stream in self._streams if stream.done is not None]
        rows = [row for stream in self._streams for row in stream.finished]
        return wire.LmStudioStats.of(done, rows)

    def _info(self) -> wire.LmStudioModelInfo:
        entry = self._entry
        assert entry is not None, "the command has been made"
        resident = self.services.supervisor.telemetry.resident.get(entry.name)
        context = resident.context_length if resident is not None else entry.context_window
        return wire.LmStudioModelInfo(
            entry.facts.architecture or "",
            entry.facts.quantization or "",
            file_format(entry) or "upstream",
            context or 0,
        )


class LmStudioChatCompletionsHandler(LmStudioStatsHandler, ChatCompletionsBase):
    """Complete chats."""

    endpoint = "api/v0/chat/completions"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a completion, or with a stream of its chunks."""
        request = self.decoded(wire.CHAT_COMPLETION_DECODER)
        self._ttl = request.ttl
        await self.complete(wire.without_limit(request))
        await self.keep_or_unload()


class LmStudioTextCompletionsHandler(LmStudioStatsHandler, CompletionsHandler):
    """Complete texts."""

    endpoint = "api/v0/completions"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the completions, or with a stream of their chunks."""
        request = self.decoded(wire.COMPLETION_DECODER)
        self._ttl = request.ttl
        await self.complete(wire.without_limit(request))
        await self.keep_or_unload()


class LmStudioEmbeddingsHandler(LmStudioV0Handler, EmbeddingsHandler):
    """Embed texts."""

    endpoint = "api/v0/embeddings"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with one vector for each input."""
        await self.embed()
