"""`v1/models`: the models that requests may name, as OpenAI's clients list them."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.base import ApiHandler
from mlx_notebook.server.catalog import Entry
from mlx_notebook.server.model_list import loading
from mlx_notebook.server.wire import models as wire


class ModelsBase(ApiHandler):
    """Base of the routes about models. Asking does not count as activity (clients poll)."""

    _track_activity = False

    async def describe(self, entries: list[Entry]) -> list[wire.Model]:
        """Return models as `v1/models` shows them."""
        stats = self.extension.supervisor.telemetry.stats
        loaded = {resident.model: resident for resident in stats.resident} if stats else {}
        coming = set(loading(self.extension))
        default = await self.extension.catalog.default()

        def state(name: str) -> wire.ModelState:
            return "loaded" if name in loaded else "loading" if name in coming else "available"

        return [
            wire.Model(
                id=entry.name,
                created=entry.facts.created,
                context_window=entry.context_window,
                state=state(entry.name),
                source=entry.source,
                default=entry.name == default,
                capabilities=entry.capabilities(loaded.get(entry.name)),
            )
            for entry in entries
        ]


class ModelsHandler(ModelsBase):
    """All models."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them."""
        entries = await self.extension.catalog.entries()
        self.answer(wire.ModelList(await self.describe(entries)))


class ModelHandler(ModelsBase):
    """One model; its name may hold slashes."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Describe it."""
        entry = await self.extension.catalog.find(name)
        self.answer((await self.describe([entry]))[0])
