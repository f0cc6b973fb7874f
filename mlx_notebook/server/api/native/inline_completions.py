"""Handle `mlx/completions/inline`: grey text behind the cursor of an editor."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import protocol
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import Conflict
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.completion_model import (
    completion_method,
    completion_model,
    fill_not_supported,
)
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.native import inline_types as wire


class InlineCompletionHandler(GenerationHandler):
    """Complete the code at a cursor."""

    endpoint = "mlx/completions/inline"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer whether completions are available, with which model, and if not, why."""
        try:
            entry = await self._default()
        except Conflict as error:
            self.answer(wire.InlineAvailability(False, None, None, False, error.message))
            return
        loaded = entry.name in self.services.supervisor.telemetry.resident
        method = await self._method(entry)
        self.answer(wire.InlineAvailability(True, entry.name, method, loaded, None))

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a stream of text. It ends with the client's connection."""
        request = self.decoded(wire.DECODER)
        if request.model:
            entry = await find_model(self, request.model, use="text")
        else:
            entry = await self._default()
        method = await self._method(entry)
        if method is None:
            error = fill_not_supported(entry)
            error.param = "model"
            raise error
        command = await self.command(
            new_id("inline-"),
            entry.name,
            request.prompt(),
            protocol.Sampling(temperature=request.temperature, max_tokens=request.max_tokens),
            urgent=True,
        )
        async with self.event_stream(), self.running(command) as stream:
            reason: protocol.FinishReason = "stop"
            async for events in stream.batches():
                for event in events:
                    match event:
                        case KeepAlive(text=text):
                            await self.send(comment(text))
                        case protocol.Text(text=text) if text:
                            await self.send_event(wire.InlineText(text))
                        case protocol.Finished():
                            reason = event.reason
                        case protocol.Done(usage=usage):
                            counts = usage.prompt, usage.cached, usage.completion
                            used = wire.InlineUsage(*counts)
                            last = wire.InlineDone(command.id, entry.name, method, reason, used)
                            await self.send_event(last)

    async def _method(self, entry: CatalogEntry) -> wire.CompletionMethod | None:
        settings = self.services.model_settings.of(entry.name, await self.settings_user())
        return completion_method(entry, settings)

    async def _default(self) -> CatalogEntry:
        """Return the model for completions.

        Raises
        ------
        Conflict
            If there is none.
        """
        services, user = self.services, await self.settings_user()
        return await completion_model(services.catalog, services.completion_model, user)
