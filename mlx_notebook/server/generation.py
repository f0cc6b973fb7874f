"""What every endpoint that generates shares: from a checked request to a stream of events."""

import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlx_notebook.messages import Generate, Prompt, Sampling
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
        self, id: str, model: str | None, prompt: Prompt, sampling: Sampling, n: int
    ) -> AsyncIterator[RequestStream]:
        """Run a request on the model of that name, or on the default one.

        Raises:
            ApiError: The model is not there, or the engine cannot take the request.
        """
        entry = await self.extension.catalog.find(model)
        self.set_header("x-request-id", id)
        command = Generate(
            id=id, model=entry.name, path=str(entry.path), prompt=prompt, sampling=sampling, n=n
        )
        async with self.extension.supervisor.generate(command) as stream:
            self.extension.catalog.used(entry.name)
            yield stream
