"""The responses of `health`, `mlx/status` and `mlx/events`.

Times are in Unix seconds, durations in seconds.
"""

from typing import Literal

from msgspec import Struct

from mlx_notebook.protocol import RequestPhase
from mlx_notebook.server.wire.native.model_types import MemoryBudget

EngineState = Literal["stopped", "starting", "running", "unresponsive", "restarting", "failed"]


class Health(Struct):
    """The server can answer requests, or can start the engine for them."""

    status: Literal["ok"] = "ok"


class EngineStatus(Struct):
    """The engine process. `error` says why it last ended, if it did not end normally.

    `silent` is the time since its last message, `held` the time it has spent on its current step or
    on one part of loading a model. Time in which the server itself was blocked is not counted.
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
    """A model in memory. `active` is the number of requests that use it.

    A `pinned` model is not evicted. `vision` says whether it accepts images.
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
    """A model that is loading: `done` of `total` bytes of its weights are in memory."""

    id: str
    done: int
    total: int


class RequestStatus(Struct):
    """A request that has not finished.

    `own` is false for another user's request, which has a placeholder for its id. Only an admin
    sees such requests.
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
    """The queue, with what all users have in it.

    `rows` are sequences that run or wait. `running` and `waiting` are requests. Up to `batch`
    sequences are decoded together, and up to `limit` may wait.
    """

    rows: int
    running: int
    waiting: int
    batch: int
    limit: int


class Rates(Struct):
    """Tokens per second of all requests together, over the last second."""

    decode: float
    prefill: float


class TotalCounts(Struct):
    """Counts since the server started, over all engine processes."""

    requests: int
    finished: int
    cancelled: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


class MemoryStatus(Struct):
    """Memory in bytes: MLX's active, cached and peak, the engine process, the prefix cache.

    `wired_limit` is the most that macOS keeps wired for the engine; 0: nothing.
    """

    active: int
    cache: int
    peak: int
    process: int
    prefixes: int
    wired_limit: int


class EngineRank(Struct):
    """One of several processes that compute together. Rank 0 is the engine process itself.

    `active` and `peak` are bytes of MLX's memory. `waited` is how many seconds the rank has waited
    for others. `pid` is None until the rank has told it.
    """

    rank: int
    host: str
    pid: int | None
    active: int
    peak: int
    waited: float


class PrefixDiskStatus(Struct):
    """Bytes that the prefix cache wrote to disk in the last hour.

    `limit` is the most for an hour (0: no limit), and `skipped` what was not written because of it.
    """

    written: int
    limit: int
    skipped: int


class DownloadStatus(Struct):
    """A download: `done` of `total` bytes. `total` is None while it is unknown."""

    model: str
    done: int
    total: int | None
    seconds_left: float | None


class ActiveJob(Struct):
    """A long job or a batch of requests that has not ended.

    `kind` is that of a job (`finetune`, `merge`, `convert`) or `batch`. `state` is `waiting` (for
    its turn or its memory), `running` or `stopping`. `phase`, `done`, `total` and `unit` say how
    far it is; `total` 0: not known. `title` and `model` are empty for another user's job, which has
    a placeholder for its id. Only an admin sees such jobs.
    """

    id: str
    kind: str
    title: str
    model: str
    state: Literal["waiting", "running", "stopping"]
    phase: str
    done: int
    total: int
    unit: str
    seconds_left: float | None = None
    own: bool = True


class HistoryPoint(Struct):
    """One second: tokens per second, active requests, bytes of MLX's active memory."""

    time: float
    decode: float
    prefill: float
    active: int
    memory: int


class ServerStatus(Struct):
    """The state of the server. `history` has one point a second, at most 120.

    `loading` lists the models that are loading or waiting for memory, in order. `progress` is that
    of the first one, once its load has started. `jobs` has the fine-tuning, conversions and batches
    that have not ended. `ranks` is empty if one process computes all.
    A stream is silent for at most about `keep_alive_seconds`.
    """

    engine: EngineStatus
    default_model: str | None
    loading: list[str]
    progress: LoadingModel | None
    models: list[ResidentModel]
    budget: MemoryBudget
    downloads: list[DownloadStatus]
    requests: list[RequestStatus]
    jobs: list[ActiveJob]
    queue: QueueStatus
    rates: Rates
    totals: TotalCounts
    memory: MemoryStatus
    ranks: list[EngineRank]
    prefix_disk: PrefixDiskStatus
    history: list[HistoryPoint]
    keep_alive_seconds: float


class CancelledRequest(Struct):
    """A request that was cancelled."""

    id: str
    cancelled: bool = True
