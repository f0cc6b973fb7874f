"""What the server tells the engine once, when it starts it."""

import msgspec


class EngineConfig(msgspec.Struct, kw_only=True, frozen=True):
    """What the engine is told once, on its command line, as JSON.

    `max_batch` is rows decoded together, `prefill_step` the most prompt tokens of one prefill
    chunk (how long a long prompt may hold up running streams). `memory_budget` is what all models
    together may take, in bytes (`None`: a share of the machine's), `max_resident` how many there
    may be (0: any number); a model that waits for memory lets later requests of those in its way
    go first for `swap_patience` seconds. `prefix_disk_path` is the folder where computed prompts
    outlive the engine, `prefix_disk_bytes` what they may take (0: nothing). `sandbox_seconds` is
    the processor time that rendering a chat template or decoding an image may take.
    """

    max_batch: int = 32
    prefill_step: int = 512
    max_prompt_tokens: int | None = None
    memory_budget: int | None = None
    max_resident: int = 0
    swap_patience: float = 5.0
    idle_unload_minutes: float = 15.0
    prefix_cache_entries: int = 64
    prefix_cache_bytes: int | None = None
    prefix_disk_path: str | None = None
    prefix_disk_bytes: int = 0
    sandbox_seconds: int = 10
    warm_up: bool = True
    log_level: str = "INFO"
