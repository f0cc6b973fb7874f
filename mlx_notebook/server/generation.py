"""What every endpoint that generates shares: from a checked request to a stream of events."""

import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlx_notebook.messages import (
    Generate,
    OutputFormat,
    Prompt,
    Sampling,
    Tokenize,
    Tokenized,
    ToolChoice,
)
from mlx_notebook.server.base import EventStreamHandler
from mlx_notebook.server.streams import RequestStream

_LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """Return an id that nobody can guess: the prefix and 12 characters."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(12))


class GenerationHandler(EventStreamHandler):
    """Base of the endpoints that run a model."""

    @asynccontextmanager
    async def generating(
        self,
        id: str,
        model: str | None,
        prompt: Prompt,
        sampling: Sampling,
        n: int = 1,
        *,
        tool_choice: ToolChoice | None = None,
        output_format: OutputFormat | None = None,
        thinking_budget: int | None = None,
    ) -> AsyncIterator[RequestStream]:
        """Run a request on the model of that name, or on the default one.

        Raises:
            ApiError: The model is not there, or the engine cannot take the request.
        """
        entry = await self.extension.catalog.find(model)
        self.set_header("x-request-id", id)
        command = Generate(
            id=id,
            model=entry.name,
            path=str(entry.path),
            prompt=prompt,
            sampling=sampling,
            n=n,
            tool_choice=tool_choice or ToolChoice(),
            output_format=output_format,
            thinking_budget=thinking_budget,
        )
        async with self.extension.supervisor.generate(command) as stream:
            self.extension.catalog.used(entry.name)
            yield stream

    async def tokenized(self, model: str | None, prompt: Prompt) -> Tokenized:
        """Return what a prompt becomes for the model of that name, or for the default one.

        Raises:
            ApiError: The model is not there, or its template refuses the messages.
        """
        entry = await self.extension.catalog.find(model)
        command = Tokenize(
            id=new_id("tokenize-"), model=entry.name, path=str(entry.path), prompt=prompt
        )
        return await self.extension.supervisor.tokenize(command)
