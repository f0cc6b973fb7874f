"""Build the list of `mlx/models`: models on this machine, in memory, and to download."""

import msgspec

from mlx_notebook.model_files.machine_memory import (
    estimate_memory_budget,
    format_bytes,
    full_precision,
)
from mlx_notebook.protocol import Resident
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.suggestions import Suggestion, suggestions
from mlx_notebook.server.services import Services
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR
from mlx_notebook.server.users.user import User
from mlx_notebook.server.wire.native import model_types as wire


async def catalog_list(services: Services, user: User, settings_user: str) -> wire.CatalogList:
    """Return all models that a user may use.

    The default model of `settings_user` comes first, then those on this machine, at upstreams, and
    suggested ones.
    """
    upstreams = services.upstreams
    entries = [
        entry
        for entry in await services.catalog.all_entries(settings_user)
        if entry.upstream is None or upstreams.may_use(user, entry.upstream)
    ]
    describer = _ModelDescriber(services, await services.catalog.default(settings_user))
    here = {entry.name for entry in entries}
    known = here | {model.id for model in suggestions()}
    return wire.CatalogList(
        [
            *(
                describer.local(entry) if entry.upstream is None else describer.remote(entry)
                for entry in entries
            ),
            *(
                describer.unusable(f"{upstream}{SEPARATOR}", client.models.problem)
                for upstream, client in upstreams
                if client.models.problem and upstreams.may_use(user, upstream)
            ),
            *(describer.suggested(model) for model in suggestions() if model.id not in here),
            *(
                describer.downloading(name)
                for name in services.downloads.current
                if name not in known
            ),
        ],
        describer.budget,
    )


def memory_budget(services: Services) -> wire.MemoryBudget:
    """Return the memory budget for models, an estimate if no engine runs."""
    stats = services.supervisor.telemetry.stats
    used = sum(resident.bytes for resident in stats.resident) if stats else 0
    if stats:
        return wire.MemoryBudget(stats.budget, used)
    ranks = services.supervisor.config.distributed
    # Until the engine tells, other machines are taken to be like this one.
    machines = len(set(ranks.hosts)) if ranks is not None else 1
    limit = services.memory_budget_bytes or machines * estimate_memory_budget()
    return wire.MemoryBudget(limit, used)


def loading_models(services: Services) -> list[str]:
    """Return the models that are loading or wait for memory, in the order of the engine.

    A model counts from the moment of the request for it, even if the engine has not started yet.
    """
    telemetry = services.supervisor.telemetry
    reported = telemetry.stats.loading if telemetry.stats else []
    known = {*telemetry.resident, *reported}
    return [*reported, *(name for name in services.engine.wanted if name not in known)]


def load_progress(services: Services, entry: CatalogEntry) -> wire.Progress:
    """Return how many bytes of a model's weights are in memory, 0 until the engine tells."""
    stats, ready = services.supervisor.telemetry.stats, services.supervisor.ready
    if stats is not None and stats.progress is not None and stats.progress.model == entry.name:
        return wire.Progress("loading", stats.progress.done, stats.progress.total, None)
    precise = full_precision(ready.device if ready else None)
    return wire.Progress("loading", 0, entry.footprint(full_precision=precise).weights, None)


class _ModelDescriber:
    """Describe models, all at one state of the engine."""

    def __init__(self, services: Services, default: str) -> None:
        supervisor = services.supervisor
        self.budget = memory_budget(services)
        self._services = services
        self._catalog = services.catalog
        self._default = default
        self._resident = supervisor.telemetry.resident
        self._pinned = sum(model.bytes for model in self._resident.values() if model.pinned)
        self._loading = set(loading_models(services))
        self._downloads = services.downloads.current
        ready = supervisor.ready
        self._full_precision = full_precision(ready.device if ready else None)

    def local(self, entry: CatalogEntry) -> wire.CatalogModel:
        """Describe a model that is on this machine."""
        facts = entry.facts
        resident = self._resident.get(entry.name)
        estimate = entry.footprint(full_precision=self._full_precision)
        need = resident.bytes if resident else estimate.total
        why_not = None if resident else self._why_not(need)
        return wire.CatalogModel(
            id=entry.name,
            state=self._state(entry, resident),
            source=entry.source,
            aliases=self._catalog.aliases_of(entry.name),
            default=entry.name == self._default,
            pinned=resident.pinned if resident else False,
            active=resident.active if resident else 0,
            context_length=resident.context_length if resident else entry.context_window,
            capabilities=entry.capabilities(resident),
            architecture=facts.architecture,
            quantization=facts.quantization,
            bytes_on_disk=facts.bytes_on_disk,
            download_bytes=None,
            memory_bytes=need,
            approximate=False,
            fits=why_not is None,
            why_not=why_not,
            error=self._catalog.problem(entry),
            description=None,
            progress=self._progress_of(entry),
            reloads=resident is not None and entry.is_outdated(resident),
        )

    def remote(self, entry: CatalogEntry) -> wire.CatalogModel:
        """Describe a model of an upstream."""
        assert entry.upstream is not None
        client = self._services.upstreams.client(entry.upstream)
        return msgspec.structs.replace(
            self.unusable(entry.name, self._catalog.problem(entry)),
            state="broken" if self._catalog.problem(entry) else "upstream",
            active=sum(stream.model == entry.name for stream in client.streams),
            context_length=entry.context_window,
            capabilities=entry.capabilities(None),
            description=f"at {client.settings.host}",
        )

    def unusable(self, name: str, problem: str | None) -> wire.CatalogModel:
        """Describe an upstream that cannot list its models, or one of its models."""
        return wire.CatalogModel(
            id=name,
            state="broken",
            source="upstream",
            aliases=self._catalog.aliases_of(name),
            default=name == self._default,
            pinned=False,
            active=0,
            context_length=None,
            capabilities=[],
            architecture=None,
            quantization=None,
            bytes_on_disk=None,
            download_bytes=None,
            memory_bytes=None,
            approximate=False,
            fits=None,
            why_not=None,
            error=problem,
            description=None,
            progress=None,
        )

    def suggested(self, model: Suggestion) -> wire.CatalogModel:
        """Describe a suggested model that can be downloaded."""
        why_not = self._why_not(model.memory_bytes)
        return wire.CatalogModel(
            id=model.id,
            state="downloading" if model.id in self._downloads else "downloadable",
            source="curated",
            aliases=self._catalog.aliases_of(model.id),
            default=False,
            pinned=False,
            active=0,
            context_length=model.context_length,
            capabilities=model.capabilities,
            architecture=None,
            quantization=None,
            bytes_on_disk=None,
            download_bytes=model.download_bytes,
            memory_bytes=model.memory_bytes,
            approximate=True,
            fits=why_not is None,
            why_not=why_not,
            error=None,
            description=model.description,
            progress=self._progress(model.id),
        )

    def downloading(self, name: str) -> wire.CatalogModel:
        """Describe a model that is being downloaded and is not in the other lists."""
        progress = self._progress(name)
        return wire.CatalogModel(
            id=name,
            state="downloading",
            source="cache",
            aliases=self._catalog.aliases_of(name),
            default=False,
            pinned=False,
            active=0,
            context_length=None,
            capabilities=[],
            architecture=None,
            quantization=None,
            bytes_on_disk=None,
            download_bytes=progress.total if progress else None,
            memory_bytes=None,
            approximate=True,
            fits=None,
            why_not=None,
            error=None,
            description=None,
            progress=progress,
        )

    def _state(self, entry: CatalogEntry, resident: Resident | None) -> wire.CatalogState:
        if resident is not None:
            return "resident"
        if entry.name in self._loading:
            return "loading"
        if entry.name in self._downloads:
            return "downloading"
        if entry.facts.missing:
            return "incomplete"
        return "broken" if self._catalog.problem(entry) else "available"

    def _progress_of(self, entry: CatalogEntry) -> wire.Progress | None:
        if self._state(entry, self._resident.get(entry.name)) == "loading":
            return load_progress(self._services, entry)
        return self._progress(entry.name)

    def _progress(self, name: str) -> wire.Progress | None:
        download = self._downloads.get(name)
        return download.progress if download is not None else None

    def _why_not(self, need: int) -> str | None:
        limit = self.budget.limit
        if limit is None or need + self._pinned <= limit:
            return None
        pinned = (
            f", of which pinned models hold {format_bytes(self._pinned)}" if self._pinned else ""
        )
        return (
            f"It needs about {format_bytes(need)}, but models may take only {format_bytes(limit)} "
            f"on this machine{pinned}."
        )
