"""`v1/models`, `mlx/models`, and the orders to load, unload, download, pin and cancel one.

Sizes are bytes, lengths of contexts tokens, durations seconds.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

ModelState = Literal["loaded", "loading", "available"]
ModelSource = Literal["embedded", "folder", "cache"]
CatalogState = Literal[
    "resident", "loading", "downloading", "available", "downloadable", "incomplete", "broken"
]
CatalogSource = Literal["embedded", "folder", "cache", "curated"]
ProgressPhase = Literal["downloading", "loading"]

_Name = Annotated[str, Meta(min_length=1, max_length=512)]
_Revision = Annotated[str, Meta(min_length=1, max_length=256)]


class ModelCard(Struct):
    """A model that this server can run. `context_window` is in tokens."""

    id: str
    created: int
    context_window: int | None
    state: ModelState
    source: ModelSource
    default: bool
    capabilities: list[str]
    object: Literal["model"] = "model"
    owned_by: Literal["local"] = "local"


class ModelList(Struct):
    """All models, the default one first."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class Progress(Struct):
    """How far a download (bytes) or a load has come; `total` where that is known."""

    phase: ProgressPhase
    done: int
    total: int | None
    seconds_left: float | None


class CatalogModel(Struct):
    """A model of the catalog.

    `memory_bytes` is what it is predicted to take (what its weights take, once it is resident);
    `fits` tells whether this machine's budget holds that, `why_not` the figures where it does not.
    `error` says why a model that is there cannot be used. `approximate` says that the figures are
    those of a list and not of the model's files. `reloads` says that it is in memory as it was
    before its files or its settings about loading changed: its next request loads it anew.
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
    """The memory for models: how much there is, as far as that is known, and what is taken."""

    limit: int | None
    used: int


class CatalogList(Struct):
    """All models there are, the default one first, then those that can be downloaded."""

    models: list[CatalogModel]
    budget: MemoryBudget


class LoadRequest(Struct):
    """The model to load. `pin` keeps it in memory; `adapter` is a LoRA adapter to lay over it."""

    model: _Name
    pin: bool | None = None
    adapter: _Name | None = None
    stream: bool = False


class UnloadRequest(Struct):
    """The model to unload."""

    model: _Name


class DownloadRequest(Struct):
    """The model to download from Hugging Face; `revision` is a branch, a tag or a commit."""

    model: _Name
    revision: _Revision | None = None
    stream: bool = False


class PinRequest(Struct):
    """The model to keep in memory, or to let go again."""

    model: _Name
    pinned: bool = True


class CancelModelRequest(Struct):
    """The model whose download or load is to be broken off."""

    model: _Name


class LoadedModel(Struct):
    """A model that is in memory now; loading took `seconds` (0 where it was there already)."""

    model: str
    bytes: int
    context_length: int
    seconds: float


class UnloadedModel(Struct):
    """A model that is no longer in memory, and the bytes it gave back."""

    model: str
    freed: int


class DownloadedModel(Struct):
    """A model that is on this machine now: its commit, its size, and what had to be fetched."""

    model: str
    revision: str
    bytes: int
    fetched: int
    seconds: float


class PinnedModel(Struct):
    """Whether a model is kept in memory now."""

    model: str
    pinned: bool


class KeptModels(Struct):
    """Models that stay in memory for a notebook, which shall ask again after so many seconds."""

    models: list[str]
    again_seconds: float


class CancelledModel(Struct):
    """A download or a load was broken off."""

    model: str
    cancelled: ProgressPhase


class ProgressEvent(Struct, tag_field="phase"):
    """One line of a streamed order, until its end: see `Progress`."""

    model: str
    done: int
    total: int | None
    seconds_left: float | None


class DownloadingEvent(ProgressEvent, tag="downloading"):
    """How far a download has come, in bytes."""


class LoadingEvent(ProgressEvent, tag="loading"):
    """How far a load has come, in bytes."""


class LoadedEvent(LoadedModel, tag_field="phase", tag="done"):
    """The last line of a streamed load."""


class DownloadedEvent(DownloadedModel, tag_field="phase", tag="done"):
    """The last line of a streamed download."""


LoadEvent = DownloadingEvent | LoadingEvent | LoadedEvent
DownloadEvent = DownloadingEvent | DownloadedEvent


class SettingsResponse(Struct):
    """A model's settings in force, and the part of them that was saved through this route.

    `reloads` says that it is in memory with other settings about loading: its next request loads it
    anew, once it is idle.
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
