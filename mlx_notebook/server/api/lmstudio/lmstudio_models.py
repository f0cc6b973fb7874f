"""Handle LM Studio's routes about models: lists of both versions, load, unload."""

import re

from jupyter_server.auth.decorator import authorized
from msgspec import UNSET
from tornado import web

from mlx_notebook.protocol import Resident
from mlx_notebook.server.api.foreign.model_memory import ModelMemoryHandler
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.lmstudio.lmstudio_handler import LmStudioHandler, LmStudioV0Handler
from mlx_notebook.server.api.user_rules import check_permission, may_use
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.wire.lmstudio import lmstudio_model_types as wire

_BITS = re.compile(r"(?:I?Q|F|BF)?(\d+)")
_NOBODY = "local"


def listed_v0(entry: CatalogEntry, resident: Resident | None) -> wire.LmStudioV0Model:
    """Return a model as `api/v0/models` lists it."""
    known = entry.capabilities(resident)
    text_kind: wire.LmStudioV0Kind = "vlm" if "vision" in known else "llm"
    model = wire.LmStudioV0Model(
        id=entry.name,
        type="embeddings" if entry.is_embedding_model else text_kind,
        publisher=publisher(entry),
        arch=entry.facts.architecture or "",
        compatibility_type=file_format(entry) or "upstream",
        quantization=entry.facts.quantization or "",
        state="not-loaded" if resident is None else "loaded",
        max_context_length=entry.context_window or 0,
        object="model",
    )
    if resident is not None:
        model.loaded_context_length = resident.context_length
    if "tools" in known:
        model.capabilities = ["tool_use"]
    return model


def listed_v1(entry: CatalogEntry, resident: Resident | None, parallel: int) -> wire.LmStudioModel:
    """Return a model as `api/v1/models` lists it.

    Parameters
    ----------
    entry
        The model.
    resident
        Its state in memory; None if it is not there.
    parallel
        How many requests a model answers at once.
    """
    facts = entry.facts
    model = wire.LmStudioModel(
        type=kind(entry),
        publisher=publisher(entry),
        key=entry.name,
        display_name=entry.name.rpartition("/")[2],
        quantization=_quantization(facts.quantization),
        size_bytes=facts.bytes_on_disk,
        params_string=None if entry.upstream else wire.params_string(facts.parameters),
        loaded_instances=[]
        if resident is None
        else [wire.LmStudioInstance(entry.name, config_of(entry, resident, parallel))],
        max_context_length=entry.context_window or 0,
        format=file_format(entry),
    )
    if not entry.is_embedding_model:
        known = entry.capabilities(resident)
        model.architecture = facts.architecture
        model.capabilities = wire.LmStudioCapabilities("vision" in known, "tools" in known)
        model.description = None
    return model


def config_of(
    entry: CatalogEntry, resident: Resident, parallel: int
) -> wire.LmStudioInstanceConfig:
    """Return what a loaded model has. See `listed_v1`."""
    at_once = UNSET if entry.is_embedding_model else parallel
    return wire.LmStudioInstanceConfig(resident.context_length, at_once)


def kind(entry: CatalogEntry) -> wire.LmStudioKind:
    """Return the kind of a model."""
    return "embedding" if entry.is_embedding_model else "llm"


def publisher(entry: CatalogEntry) -> str:
    """Return who published a model, as far as its name says so."""
    return entry.upstream or entry.name.rpartition("/")[0] or _NOBODY


def file_format(entry: CatalogEntry) -> wire.LmStudioFormat | None:
    """Return the format of a model's files; None for that of an upstream."""
    if entry.upstream is not None:
        return None
    return "gguf" if entry.path.suffix == ".gguf" else "mlx"


def _quantization(name: str | None) -> wire.LmStudioQuantization | None:
    if name is None:
        return None
    bits = _BITS.match(name)
    return wire.LmStudioQuantization(name, int(bits[1]) if bits else None)


class LmStudioListing(LmStudioV0Handler):
    """Base of the routes that list models. Models of sound and rerankers have no place in them."""

    _track_activity = False

    async def listed(self) -> list[tuple[CatalogEntry, Resident | None]]:
        """Return the models that the user may use, and their states in memory."""
        resident = self.services.supervisor.telemetry.resident
        entries = await self.services.catalog.entries(await self.settings_user())
        return [
            (entry, resident.get(entry.name))
            for entry in entries
            if may_use(self, entry) and (entry.generates_text or entry.is_embedding_model)
        ]


class LmStudioV0ModelsHandler(LmStudioListing):
    """List the models that the user may use."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with them."""
        self.answer(wire.LmStudioV0List([listed_v0(*each) for each in await self.listed()]))


class LmStudioV0ModelHandler(LmStudioV0Handler):
    """Describe one model, whose name may contain slashes."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with its description."""
        entry = await self.services.catalog.find(name, await self.settings_user())
        if entry.upstream is not None:
            self.services.upstreams.check_user(self.user, entry.upstream)
        check_permission(self, "use", entry.name)
        resident = self.services.supervisor.telemetry.resident
        self.answer(listed_v0(entry, resident.get(entry.name)))


class LmStudioModelsHandler(LmStudioHandler, LmStudioListing):
    """List the models that the user may use."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with them."""
        parallel = self.services.limits.max_batch
        models = [listed_v1(*each, parallel) for each in await self.listed()]
        self.answer(wire.LmStudioModelList(models))


class LmStudioLoadHandler(LmStudioHandler, ModelMemoryHandler):
    """Load a model into memory."""

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Load it, and answer when it is loaded."""
        request = self.decoded(wire.LOAD_DECODER)
        loaded = await self.load(request.model)
        name = loaded.resident.model
        entry = await self.services.catalog.find(name, await self.settings_user())
        answer = wire.LmStudioLoaded(kind(entry), name, round(loaded.seconds, 3))
        if request.echo_load_config:
            parallel = self.services.limits.max_batch
            answer.load_config = config_of(entry, loaded.resident, parallel)
        self.answer(answer)


class LmStudioUnloadHandler(LmStudioHandler, ModelMemoryHandler):
    """Unload a model from memory."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Unload it, and answer with its name."""
        request = self.decoded(wire.UNLOAD_DECODER)
        self.answer(wire.LmStudioUnloaded(await self.unload(request.instance_id)))
