"""The engine's status: resident models, running requests, memory and token rates."""

from typing import Literal

import msgspec

from mlx_notebook.protocol.model_commands import ModelOptions

RequestPhase = Literal["queued", "loading", "prefill", "decode"]


Work = Literal["step", "first step", "loading", "preparation"]


class Resident(msgspec.Struct, frozen=True, array_like=True):
    """A resident model. `context_length` is in tokens, `bytes` the size of its weights.

    A `pinned` model is unloaded only by `Unload`. A model with `vision` takes images. `path` and
    `options` are those that it was loaded with: a request with other ones reloads it.
    """

    model: str
    bytes: int
    context_length: int
    loaded_at: float
    last_used: float
    active: int
    pinned: bool
    vision: bool
    path: str
    options: ModelOptions
    hears: bool = False


class LiveRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that has not ended. `age` is in seconds; the other numbers count tokens."""

    id: str
    model: str
    phase: RequestPhase
    prompt_tokens: int
    cached_tokens: int
    prefilled: int
    generated_tokens: int
    tokens_per_second: float
    age: float


class Totals(msgspec.Struct, frozen=True, array_like=True):
    """Counts since the engine process started."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of MLX (active, cached, peak), of the process, and of the prefix cache.

    `wired_limit` is the most that macOS keeps wired for the engine; 0: nothing.
    """

    active: int
    cache: int
    peak: int
    process: int
    prefixes: int
    wired_limit: int = 0


class DiskWrites(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that the prefix cache wrote to disk, and that it skipped because of its limit.

    `limit` is the most bytes that may be written within an hour (0: no limit). `written` and
    `skipped` count the last hour. `total_written` and `total_skipped` count since the engine
    started.
    """

    limit: int = 0
    written: int = 0
    skipped: int = 0
    total_written: int = 0
    total_skipped: int = 0


class RankStatus(msgspec.Struct, frozen=True, array_like=True):
    """One rank: its host, its process, MLX's memory in bytes, and the seconds it waited for others.

    Rank 0 is the engine process itself. `pid` is 0 until the rank has told it.
    """

    rank: int
    host: str
    pid: int = 0
    active_bytes: int = 0
    peak_bytes: int = 0
    waited_seconds: float = 0.0


class LoadProgress(msgspec.Struct, frozen=True, array_like=True):
    """Progress of loading a model: `done` of `total` bytes of its weights are in memory."""

    model: str
    done: int
    total: int


class Stats(msgspec.Struct, frozen=True, tag="stats", array_like=True):
    """The engine's status, sent up to four times a second under load and once a second when idle.

    `loading` names the models that are loading or wait for memory, in order. `progress` is the
    progress of the first one, once it has started. `budget` is the memory budget of all models in
    bytes. `decode_rate` and `prefill_rate` are tokens per second over the last second. `ranks` is
    empty if one process computes all.
    """

    resident: list[Resident]
    loading: list[str]
    requests: list[LiveRequest]
    totals: Totals
    memory: Memory
    decode_rate: float
    prefill_rate: float
    budget: int
    progress: LoadProgress | None = None
    disk: DiskWrites = DiskWrites()
    ranks: list[RankStatus] = []


class Heartbeat(msgspec.Struct, frozen=True, tag="working", array_like=True):
    """Sent while one piece of work takes so long that no other event is sent.

    `work` is a step of a model, its first step (which may compile), loading a part of a model, or
    the preparation of prompts, if none gets ready. `seconds` is how long the work has taken,
    without the time that the process was suspended.
    """

    work: Work
    seconds: float
