"""Describe the models of upstreams as entries of the catalog."""

from pathlib import Path

from mlx_notebook.model_files.footprint import KVCacheSize, WeightBytes
from mlx_notebook.model_files.model_facts import ModelFacts
from mlx_notebook.server.model_errors import model_not_found
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.settings.model_settings import ModelSettings, ModelSettingsStore
from mlx_notebook.server.models.usability import refusal_of
from mlx_notebook.server.upstreams.upstream_models import UpstreamModel
from mlx_notebook.server.upstreams.upstream_request import unsupported_settings
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR, UpstreamSettings
from mlx_notebook.server.upstreams.upstreams import Upstreams


class UpstreamEntries:
    """The models of upstreams in the catalog.

    Parameters
    ----------
    upstreams
        All upstreams; None for none.
    settings
        Settings of single models.
    """

    def __init__(self, upstreams: Upstreams | None, settings: ModelSettingsStore) -> None:
        self._upstreams = upstreams
        self._settings = settings

    def has(self, name: str) -> bool:
        """Whether a name is that of an upstream's model, if there is such a model."""
        return self._upstreams is not None and self._upstreams.split(name) is not None

    @property
    def entries(self) -> dict[str, CatalogEntry]:
        """The models of all upstreams by name, as they were listed last."""
        known = (
            upstream_entry(upstream, model, client.settings, self._settings)
            for upstream, client in self._upstreams or ()
            for model in client.models.known.values()
        )
        return {entry.name: entry for entry in known}

    async def find(self, name: str) -> CatalogEntry:
        """Return a model of an upstream.

        Raises
        ------
        ApiError
            If the upstream has no such model, or cannot tell, or its settings are not usable.
        """
        assert self._upstreams is not None
        found = self._upstreams.split(name)
        assert found is not None
        upstream, own_name = found
        model = await self._upstreams.find(upstream, own_name)
        if model is None:
            prefix = f"{upstream}{SEPARATOR}"
            raise model_not_found(name, [each for each in self.entries if each.startswith(prefix)])
        client = self._upstreams.client(upstream)
        entry = upstream_entry(upstream, model, client.settings, self._settings)
        if (refusal := refusal_of(entry)) is not None:
            raise refusal
        return entry

    async def refresh(self) -> None:
        """List the models of all upstreams again, those that answer soon."""
        if self._upstreams is not None:
            await self._upstreams.refresh()


def upstream_entry(
    upstream: str,
    model: UpstreamModel,
    upstream_settings: UpstreamSettings,
    store: ModelSettingsStore,
) -> CatalogEntry:
    """Return a model of an upstream as an entry of the catalog."""
    name = f"{upstream}{SEPARATOR}{model.name}"
    settings = store.of(name)
    facts = ModelFacts(
        architecture=None,
        capabilities=model.shown_capabilities,
        quantization=None,
        bytes_on_disk=0,
        weights=WeightBytes(),
        kv_cache=KVCacheSize(context=model.context),
        created=model.created,
        sampling_defaults={},
        vision=model.may("vision"),
        is_embedding_model=model.capabilities == ("embeddings",),
    )
    return CatalogEntry(
        name,
        Path(),
        "upstream",
        facts,
        settings=settings,
        fault=_fault(upstream, settings, upstream_settings),
        upstream=upstream,
    )


def _fault(
    upstream: str, settings: ModelSettings, upstream_settings: UpstreamSettings
) -> str | None:
    """Return what is wrong with the settings of an upstream's model."""
    if wrong := settings.load_settings.as_dict():
        return (
            f"{next(iter(wrong))} says how a model is loaded, and the upstream {upstream!r} "
            "loads its models itself"
        )
    names = {"enable_thinking" if name == "thinking" else name for name in settings.as_dict()}
    if missing := unsupported_settings(names, upstream_settings):
        return f"the upstream {upstream!r} does not have {sorted(missing)[0]} (its 'extra')"
    return None
