"""`v1/models`, `mlx/models`, and the requests to load, unload, download, pin and cancel a model.

Sizes are in bytes, context lengths in tokens, durations in seconds.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

ModelState = Literal["loaded", "loading", "available"]
ModelSource = Literal["embedded", "folder", "cache", "upstream"]
CatalogState = Literal[
    "resident",
    "loading",
    "downloading",
    "available",
    "downloadable",
    "incomplete",
    "broken",
    "upstream",
]
CatalogSource = Literal["embedded", "folder", "cache", "curated", "upstream"]
ProgressPhase = Literal["downloading", "loading"]

_Name = Annotated[str, Meta(min_length=1, max_length=512)]
_Revision = Annotated[str, Meta(min_length=1, max_length=256)]


class ModelCard(Struct):
    """A model that this server can run. `context_window` is in tokens.

    `owned_by` is the name of the upstream, for a model of one.
    """

    id: str
    created: int
    context_window: int | None
    state: ModelState
    source: ModelSource
    default: bool
    capabilities: list[str]
    object: Literal["model"] = "model"
    owned_by: str = "local"


class ModelList(Struct):
    """All models, the default one first."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class Progress(Struct):
    """The progress of a download or a load, in bytes. `total` is None while it is unknown."""

    phase: ProgressPhase
    done: int
    total: int | None
    seconds_left: float | None


class CatalogModel(Struct):
    """A model of the catalog.

    `memory_bytes` is an estimate of the memory that the model needs, or the size of its weights
    once it is resident. `fits` says whether the memory budget allows that; if not, `why_not` gives
    the figures. `error` says why a downloaded model cannot be used. `approximate` is true if the
    figures come from a built-in list, not from the model's files. `reloads` is true if the model's
    files or load settings changed since it was loaded: the next request reloads it. A model in the
    state `upstream` runs at another server. It is neither loaded nor unloaded, and takes no memory
    here.
    """

    id: str
    state: CatalogState
    source: CatalogSource
    aliases: list[str]
    default: bool
    pinned: bool
    active: int
    context_length: int | None
    capabilities: list[str]
    architecture: str | None
    quantization: str | None
    bytes_on_disk: int | None
    download_bytes: int | None
    memory_bytes: int | None
    approximate: bool
    fits: bool | None
    why_not: str | None
    error: str | None
    description: str | None
    progress: Progress | None
    reloads: bool = False


class MemoryBudget(Struct):
    """The memory budget for models: its limit, if known, and the memory in use."""

    limit: int | None
    used: int


class CatalogList(Struct):
    """All models: the default one first, those that can be downloaded last."""

    models: list[CatalogModel]
    budget: MemoryBudget


class LoadRequest(Struct):
    """The model to load. `pin` keeps it in memory. `adapter` is a LoRA adapter to apply."""

    model: _Name
    pin: bool | None = None
    adapter: _Name | None = None
    stream: bool = False


class UnloadRequest(Struct):
    """The model to unload."""

    model: _Name


class DownloadRequest(Struct):
    """The model to download from Hugging Face. `revision` is a branch, a tag or a commit."""

    model: _Name
    revision: _Revision | None = None
    stream: bool = False


class PinRequest(Struct):
    """The model to pin in memory, or to unpin."""

    model: _Name
    pinned: bool = True


class CancelModelRequest(Struct):
    """The model whose download or load to cancel."""

    model: _Name


class LoadedModel(Struct):
    """A model that is now in memory. `seconds` is the load time, 0 if it was loaded already."""

    model: str
    bytes: int
    context_length: int
    seconds: float


class UnloadedModel(Struct):
    """A model that was unloaded, and the bytes that this freed."""

    model: str
    freed: int


class DownloadedModel(Struct):
    """A downloaded model: its commit, its size in bytes, and the bytes that were fetched."""

    model: str
    revision: str
    bytes: int
    fetched: int
    seconds: float


class PinnedModel(Struct):
    """Whether a model is pinned now."""

    model: str
    pinned: bool


class KeptModels(Struct):
    """Models that stay in memory for a notebook, and the seconds until it must ask again."""

    models: list[str]
    again_seconds: float


class CancelledModel(Struct):
    """A download or a load that was cancelled."""

    model: str
    cancelled: ProgressPhase


class ProgressEvent(Struct, tag_field="phase"):
    """A progress event of a streamed load or download: see `Progress`."""

    model: str
    done: int
    total: int | None
    seconds_left: float | None


class DownloadingEvent(ProgressEvent, tag="downloading"):
    """The progress of a download, in bytes."""


class LoadingEvent(ProgressEvent, tag="loading"):
    """The progress of a load, in bytes."""


class LoadedEvent(LoadedModel, tag_field="phase", tag="done"):
    """The last event of a streamed load."""


class DownloadedEvent(DownloadedModel, tag_field="phase", tag="done"):
    """The last event of a streamed download."""


LoadEvent = DownloadingEvent | LoadingEvent | LoadedEvent
DownloadEvent = DownloadingEvent | DownloadedEvent


class SettingsResponse(Struct):
    """A model's current settings, and those of them that were saved through this route.

    `reloads` is true if the model is in memory with other load settings: the next request reloads
    it, once it is idle.
    """

    model: str
    settings: dict[str, Any]
    saved: dict[str, Any]
    reloads: bool


LOAD_DECODER = msgspec.json.Decoder(LoadRequest)
UNLOAD_DECODER = msgspec.json.Decoder(UnloadRequest)
DOWNLOAD_DECODER = msgspec.json.Decoder(DownloadRequest)
PIN_DECODER = msgspec.json.Decoder(PinRequest)
CANCEL_DECODER = msgspec.json.Decoder(CancelModelRequest)
