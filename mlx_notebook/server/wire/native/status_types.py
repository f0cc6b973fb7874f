"""`health`, `mlx/status` and `mlx/events`. Times are Unix seconds, durations seconds."""

from typing import Literal

from msgspec import Struct

from mlx_notebook.protocol import RequestPhase
from mlx_notebook.server.wire.native.model_types import MemoryBudget

EngineState = Literal["stopped", "starting", "running", "unresponsive", "restarting", "failed"]


class Health(Struct):
    """The server can answer requests, or can start the engine that does."""

    status: Literal["ok"] = "ok"


class EngineStatus(Struct):
    """The engine process. `error` says why it ended last, where it did not end in order.

    `silent` is how many seconds nothing has come from it, `held` how many seconds it has been at
    one step or one part of loading a model. Time in which the server itself stood still does not
    count.
    """

    state: EngineState
    pid: int | None
    restarts: int
    uptime: float
    device: str | None
    versions: dict[str, str]
    error: str | None
    silent: float
    held: float


class ResidentModel(Struct):
    """A model in memory; `active` requests use it, and one that is `pinned` stays.

    `vision` tells whether it can be shown pictures.
    """

    id: str
    bytes: int
    context_length: int
    loaded_at: float
    last_used: float
    active: int
    pinned: bool
    vision: bool


class LoadingModel(Struct):
    """The model that is being loaded: `done` of `total` bytes of its weights are in memory."""

    id: str
    done: int
    total: int


class RequestStatus(Struct):
    """A request that has not ended.

    One of another user is not `own`; a name without meaning stands for its id.
    """

    id: str
    model: str
    phase: RequestPhase
    prompt_tokens: int
    cached_tokens: int
    prefilled_tokens: int
    generated_tokens: int
    tokens_per_second: float
    age: float
    own: bool = True


class QueueStatus(Struct):
    """`rows` are in work or waiting; up to `batch` are decoded together and `limit` may wait."""

    rows: int
    waiting: int
    batch: int
    limit: int


class Rates(Struct):
    """Tokens a second, of all requests together, over the last second."""

    decode: float
    prefill: float


class TotalCounts(Struct):
    """Counts since the server began, over all engine processes."""

    requests: int
    finished: int
    cancelled: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


class MemoryStatus(Struct):
    """Bytes: MLX's active, cached and peak memory, the engine process's, and kept prefixes'."""

    active: int
    cache: int
    peak: int
    process: int
    prefixes: int


class DownloadStatus(Struct):
    """A model on its way: bytes that are there of those in all, as far as that is known."""

    model: str
    done: int
    total: int | None
    seconds_left: float | None


class HistoryPoint(Struct):
    """One second: rates in tokens a second, requests in work, bytes of MLX's active memory."""

    time: float
    decode: float
    prefill: float
    active: int
    memory: int


class ServerStatus(Struct):
    """Everything that the panels draw. `history` has a point a second, at most 120.

    `loading` names the models that are loading or wait for memory, in their order; `progress` is
    that of the first one, once it has begun.
    """

    engine: EngineStatus
    default_model: str | None
    loading: list[str]
    progress: LoadingModel | None
    models: list[ResidentModel]
    budget: MemoryBudget
    downloads: list[DownloadStatus]
    requests: list[RequestStatus]
    queue: QueueStatus
    rates: Rates
    totals: TotalCounts
    memory: MemoryStatus
    history: list[HistoryPoint]


class CancelledRequest(Struct):
    """The request was stopped."""

    id: str
    cancelled: bool = True
