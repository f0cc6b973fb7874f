"""Share what Ollama's routes need: its errors, its streams, its names, its way in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from mlx_notebook.server.api.foreign.local_access import LocalAccessHandler
from mlx_notebook.server.api.foreign.model_memory import ModelMemoryHandler
from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.ollama.ollama_responses import OllamaErrorBody

_LATEST = ":latest"


def ollama_error(error: ApiError) -> bytes:
    """Return an error in Ollama's format, as JSON."""
    message = error.message
    if error.code == "invalid_api_key":
        message = message.replace("api_key=... in OpenAI's client", "OLLAMA_API_KEY=<token>")
    return msgspec.json.encode(OllamaErrorBody(message))


class OllamaHandler(LocalAccessHandler, ModelMemoryHandler):
    """Base of Ollama's routes."""

    api_name = "ollama"
    key_variable = "OLLAMA_API_KEY"
    is_openai = False
    own_names: ClassVar[Mapping[str, str]] = {
        "enable_thinking": "think",
        "max_tokens": "options.num_predict",
        "response_format": "format",
    }

    def encoded_error(self, error: ApiError) -> bytes:
        """Return Ollama's error object."""
        return ollama_error(error)

    async def known_name(self, name: str) -> str:
        """Return the name of a model here for one in Ollama's form, with or without `:latest`."""
        catalog = self.services.catalog
        await catalog.default()
        bare = name.removesuffix(_LATEST)
        for candidate in (name, bare, bare + _LATEST):
            if catalog.source_of(catalog.canonical(candidate)) is not None:
                return candidate
        return bare


class OllamaStreamHandler(OllamaHandler, ABC):
    """Base of the routes that answer with a stream, which is lines of JSON."""

    stream_type = "application/x-ndjson"

    def error_event(self, error: ApiError) -> bytes:
        """Return the last line of a stream that fails."""
        return self.encoded_error(error) + b"\n"

    async def send_comment(self, text: str) -> None:
        """Write a line that says nothing yet, since lines of JSON have no comments."""
        if not self._headers_written:
            self._open()
        await self.send(self.empty_line(text))

    @abstractmethod
    def empty_line(self, text: str) -> bytes:
        """Return a line that keeps the connection open.

        Parameters
        ----------
        text
            What the request waits for.
        """


class OllamaUnknownRouteHandler(OllamaHandler, UnknownRouteHandler):
    """Answer requests for routes that Ollama does not have either."""
