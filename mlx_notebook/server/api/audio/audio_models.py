"""Find the model for a request with sound."""

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.errors import NotFound
from mlx_notebook.server.model_errors import audio_not_supported
from mlx_notebook.server.models.catalog_entry import CatalogEntry

# What a model with a capability does.
_DOES = {
    "transcription": "writes down no speech",
    "translation": "translates no speech",
    "speech": "reads no text aloud",
}


async def find_audio_model(handler: ApiHandler, name: str | None, capability: str) -> CatalogEntry:
    """Return the model with a name or alias.

    Without a name it is one with the capability, a resident one first.

    Raises
    ------
    ApiError
        If there is no such model, it does not have the capability, or the user may not use it.
    """
    names = await _able(handler, capability)
    if not name and not names:
        raise NotFound(
            f"No model on this machine has the capability {capability!r}. Download one, for "
            "example with %mlx pull, and name it as 'model'.",
            param="model",
            code="model_not_found",
        )
    entry = await find_model(handler, name or names[0], use=capability)
    if entry.upstream is not None or capability not in entry.facts.capabilities:
        raise audio_not_supported(entry.name, _DOES[capability], names)
    return entry


async def _able(handler: ApiHandler, capability: str) -> list[str]:
    """Return the models on this machine with a capability, resident ones first."""
    resident = handler.services.supervisor.telemetry.resident
    names = [
        entry.name
        for entry in await handler.services.catalog.entries()
        if entry.upstream is None and capability in entry.facts.capabilities
    ]
    return sorted(names, key=lambda name: name not in resident)
