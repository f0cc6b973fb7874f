"""The panel Models: models in memory, on this machine, and available to download."""

from typing import Any

from mlx_notebook.notebook.server.state_names import model_state_name
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher


class ModelsPanel(Panel):
    """All models with their state, and buttons to load, unload, pin and download them."""

    _esm = module("models/models")
    name = "Models"
    topics = frozenset({"models"})

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return all models by name, and the memory for them."""
        listed = source.models
        if listed is None:
            return {}
        return {
            "models": {model["id"]: model for model in listed["models"]},
            "budget": listed["budget"],
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return each model's state."""
        models = self.fields.get("models", {})
        return [(name, model_state_name(one["state"])) for name, one in models.items()]

    async def do_load(self, model: str) -> Any:
        """Load a model next to those in memory."""
        return await self._done("load", model=model)

    async def do_swap(self, model: str) -> Any:
        """Load a model after unloading those that are neither pinned nor in use."""
        for name, other in self.fields["models"].items():
            is_free = not other.get("pinned") and not other.get("active")
            if other["state"] == "resident" and is_free and name != model:
                await self.post("mlx/models/unload", model=name)
        return await self._done("load", model=model)

    async def do_unload(self, model: str) -> Any:
        """Unload a model."""
        return await self._done("unload", model=model)

    async def do_pin(self, model: str, pinned: bool) -> Any:
        """Pin or unpin a model."""
        return await self._done("pin", model=model, pinned=pinned)

    async def do_download(self, model: str) -> Any:
        """Download a model. The list shows the progress."""
        return await self._done("download", model=model)

    async def do_cancel(self, model: str) -> Any:
        """Cancel a download or a load."""
        return await self._done("cancel", model=model)

    async def do_convert(self, model: str, name: str, bits: int) -> Any:
        """Begin to write a model anew with fewer bits, and return the job."""
        return await self.post("mlx/jobs", kind="convert", model=model, name=name, bits=bits)

    async def do_job(self, id: str) -> Any:
        """Return the state of a job."""
        job = (await self.get(f"mlx/jobs/{id}"))["job"]
        if job["state"] == "finished":
            self.watcher.refresh("models")
        return job

    async def do_stop_job(self, id: str) -> Any:
        """Stop a job."""
        return await self.post(f"mlx/jobs/{id}/cancel")

    async def _done(self, order: str, **body: Any) -> Any:
        self.watcher.refresh("models")
        try:
            return await self.post(f"mlx/models/{order}", **body)
        finally:
            self.watcher.refresh("models")


def models_panel() -> ModelsPanel:
    """Create a panel of the server's models. Display it as the last expression of a cell.

    Returns
    -------
    ModelsPanel
        The panel.

    Examples
    --------
    >>> mlx_notebook.models_panel()
    """
    return ModelsPanel()
