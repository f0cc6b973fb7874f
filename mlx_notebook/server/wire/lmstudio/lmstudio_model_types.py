"""LM Studio's routes about models: lists, load, unload, download.

Format: https://lmstudio.ai/docs/developer/rest/list, .../load, .../unload, .../download, and
https://lmstudio.ai/docs/developer/rest/endpoints for `api/v0`. Sizes are in bytes.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import LmStudioError
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_request import LmStudioModelName
from mlx_notebook.server.wire.parameters.parameters import RequestParameters

LmStudioDownloadStatus = Literal["downloading", "completed", "failed", "already_downloaded"]
LmStudioV0Kind = Literal["llm", "vlm", "embeddings"]
LmStudioKind = Literal["llm", "embedding"]
LmStudioFormat = Literal["gguf", "mlx"]

# How another engine runs a model. Here a model always has its own context.
_ABOUT_RUNNING = frozenset(
    (
        *("context_length", "eval_batch_size", "flash_attention", "num_experts"),
        *("offload_kv_cache_to_gpu", "parallel"),
    )
)


class LmStudioV0Model(Struct, omit_defaults=True):
    """A model as `api/v0/models` lists it. `loaded_context_length` is in tokens."""

    id: str
    type: LmStudioV0Kind
    publisher: str
    arch: str
    compatibility_type: str
    quantization: str
    state: Literal["loaded", "not-loaded"]
    max_context_length: int
    object: Literal["model"]
    loaded_context_length: int | UnsetType = UNSET
    capabilities: list[str] | UnsetType = UNSET


class LmStudioV0List(Struct):
    """Models."""

    data: list[LmStudioV0Model]
    object: Literal["list"] = "list"


class LmStudioQuantization(Struct):
    """How the weights are quantised."""

    name: str | None
    bits_per_weight: int | None


class LmStudioInstanceConfig(Struct, omit_defaults=True):
    """What a loaded model has: its context in tokens, and how many requests it answers at once."""

    context_length: int
    parallel: int | UnsetType = UNSET


class LmStudioInstance(Struct):
    """A loaded model. Each model is loaded once, so the id is the model's name."""

    id: str
    config: LmStudioInstanceConfig


class LmStudioCapabilities(Struct):
    """What a model can do."""

    vision: bool
    trained_for_tool_use: bool


class LmStudioModel(Struct, kw_only=True):
    """A model as `api/v1/models` lists it."""

    type: LmStudioKind
    publisher: str
    key: str
    display_name: str
    architecture: str | UnsetType | None = UNSET
    quantization: LmStudioQuantization | None
    size_bytes: int
    params_string: str | None
    loaded_instances: list[LmStudioInstance]
    max_context_length: int
    format: LmStudioFormat | None
    capabilities: LmStudioCapabilities | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class LmStudioModelList(Struct):
    """Models."""

    models: list[LmStudioModel]


class LmStudioLoadRequest(RequestParameters, kw_only=True):
    """The model to load. A model is loaded with its own settings, and with its whole context."""

    model: LmStudioModelName
    context_length: Annotated[int, Meta(ge=1)] | None = None
    eval_batch_size: Annotated[int, Meta(ge=1)] | None = None
    flash_attention: bool | None = None
    num_experts: Annotated[int, Meta(ge=0)] | None = None
    offload_kv_cache_to_gpu: bool | None = None
    parallel: Annotated[int, Meta(ge=1)] | None = None
    echo_load_config: bool | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return _ABOUT_RUNNING


class LmStudioLoaded(Struct):
    """A loaded model."""

    type: LmStudioKind
    instance_id: str
    load_time_seconds: float
    status: Literal["loaded"] = "loaded"
    load_config: LmStudioInstanceConfig | UnsetType = UNSET


class LmStudioUnloadRequest(RequestParameters, kw_only=True):
    """The model to unload."""

    instance_id: LmStudioModelName


class LmStudioUnloaded(Struct):
    """A model that has been unloaded."""

    instance_id: str


class LmStudioDownloadRequest(RequestParameters, kw_only=True):
    """The model to download: its name on Hugging Face, or the address of its page there."""

    model: LmStudioModelName
    quantization: str | None = None

    @property
    def name(self) -> str:
        """The model's name on Hugging Face."""
        for host in ("https://huggingface.co/", "https://hf.co/"):
            if self.model.startswith(host):
                return "/".join(self.model.removeprefix(host).split("/")[:2])
        return self.model


class LmStudioDownload(Struct, kw_only=True):
    """The state of a download. Times are ISO 8601. `error` is there if it failed."""

    status: LmStudioDownloadStatus
    job_id: str | UnsetType = UNSET
    total_size_bytes: int | UnsetType = UNSET
    downloaded_bytes: int | UnsetType = UNSET
    bytes_per_second: float | UnsetType = UNSET
    estimated_completion: str | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    error: LmStudioError | UnsetType = UNSET


class LmStudioDownloads(Struct):
    """The downloads that a user has started with this API. None is ever paused."""

    downloading: list[LmStudioDownload]
    completed: list[LmStudioDownload]
    failed: list[LmStudioDownload]
    paused: list[LmStudioDownload]


def params_string(count: int) -> str:
    """Return a number of parameters as LM Studio writes it: "7B", "1.5B", "270M"."""
    if count >= 10**9:
        return f"{round(count / 1e9, 1):g}B"
    return f"{count / 1e6:.0f}M" if count >= 10**6 else f"{count / 1e3:.0f}K"


LOAD_DECODER = msgspec.json.Decoder(LmStudioLoadRequest)
UNLOAD_DECODER = msgspec.json.Decoder(LmStudioUnloadRequest)
DOWNLOAD_DECODER = msgspec.json.Decoder(LmStudioDownloadRequest)
