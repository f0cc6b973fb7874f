"""The panel of models: those in memory, on this machine, and available to download."""

from typing import Any

from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher

_STATES = {
    "resident": "in memory",
    "available": "on this machine",
    "downloadable": "available to download",
    "broken": "cannot be used",
}


class ModelsPanel(Panel):
    """All models with their state, and buttons to load, unload, pin and download them."""

    _esm = module("models/models")
    name = "Models"
    topics = frozenset({"models"})

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Give all models by name, and the memory for them."""
        listed = source.models
        if listed is None:
            return {}
        return {
            "models": {model["id"]: model for model in listed["models"]},
            "budget": listed["budget"],
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Give each model's state."""
        models = self.fields.get("models", {})
        return [(name, _STATES.get(one["state"], one["state"])) for name, one in models.items()]

    async def do_load(self, model: str) -> Any:
        """Bring a model into memory, beside those that are there."""
        return await self._done("load", model=model)

    async def do_swap(self, model: str) -> Any:
        """Bring a model into memory in place of those that are neither pinned nor in use."""
        for name, other in self.fields["models"].items():
            is_free = not other.get("pinned") and not other.get("active")
            if other["state"] == "resident" and is_free and name != model:
                await self.post("mlx/models/unload", model=name)
        return await self._done("load", model=model)

    async def do_unload(self, model: str) -> Any:
        """Give a model's memory back."""
        return await self._done("unload", model=model)

    async def do_pin(self, model: str, pinned: bool) -> Any:
        """Keep a model in memory, or let it go again."""
        return await self._done("pin", model=model, pinned=pinned)

    async def do_download(self, model: str) -> Any:
        """Fetch a model; the list shows how far it is."""
        return await self._done("download", model=model)

    async def do_cancel(self, model: str) -> Any:
        """Cancel a download or a load."""
        return await self._done("cancel", model=model)

    async def _done(self, order: str, **body: Any) -> Any:
        self.watcher.refresh("models")
        try:
            return await self.post(f"mlx/models/{order}", **body)
        finally:
            self.watcher.refresh("models")


def models_panel() -> ModelsPanel:
    """Make a panel of the server's models; display it as a cell's last expression."""
    return ModelsPanel()
