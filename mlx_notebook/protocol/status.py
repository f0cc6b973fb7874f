"""The state of the engine: resident models, running requests, memory and rates."""

from typing import Literal

import msgspec

from mlx_notebook.protocol.requests import ModelOptions

Phase = Literal["queued", "loading", "prefill", "decode"]


Work = Literal["step", "first step", "loading", "preparation"]


class Resident(msgspec.Struct, frozen=True, array_like=True):
    """A model in memory. `context_length` is in tokens, `bytes` what its weights take.

    A pinned one leaves only when it is told to. `vision` tells whether it can be shown pictures.
    `path` and `options` are those it was loaded with: a request that names others loads it anew.
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


class LiveRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that has not ended. `prefilled` and `prompt_tokens` count tokens."""

    id: str
    model: str
    phase: Phase
    prompt_tokens: int
    cached_tokens: int
    prefilled: int
    generated_tokens: int
    tokens_per_second: float
    age: float


class Totals(msgspec.Struct, frozen=True, array_like=True):
    """Counts since this engine process began."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """Bytes: MLX's active, cached and peak memory, the process's own, and what prefixes hold."""

    active: int
    cache: int
    peak: int
    process: int
    prefixes: int


class LoadProgress(msgspec.Struct, frozen=True, array_like=True):
    """How many bytes of the weights of the model that is being loaded are in memory."""

    model: str
    done: int
    total: int


class Stats(msgspec.Struct, frozen=True, tag="stats", array_like=True):
    """The engine's state: at most four times a second under load, once a second when idle.

    `loading` names the models that are loading or wait for memory, in their order; `progress` is
    that of the first one, once it has begun. `budget` is what models may take, in bytes.
    `decode_rate` and `prefill_rate` are tokens a second over the last second.
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


class Working(msgspec.Struct, frozen=True, tag="working", array_like=True):
    """A sign of life while the engine is held, so that no other event comes.

    `work` is what it is doing: a step of a model, a first step (which may compile), a part of
    loading a model, or the preparation of prompts, of which none gets ready. `seconds` is for how
    long; pauses of the process do not count.
    """

    work: Work
    seconds: float
