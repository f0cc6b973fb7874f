"""Configuration of the engine process, fixed when the server starts it."""

import msgspec


class EngineConfig(msgspec.Struct, kw_only=True, frozen=True):
    """Configuration of the engine, passed as JSON on its command line.

    Attributes
    ----------
    max_batch
        Maximum number of sequences that one batch decodes together.
    prefill_step
        Maximum number of tokens of one prompt in a prefill chunk.
    max_pause
        Seconds for which running streams may wait for a prefill chunk.
    max_prompt_tokens
        Maximum length of a prompt. None: the model's own limit.
    memory_budget
        Bytes that all models together may take. None: a share of the machine's memory.
    wired_limit
        Bytes of memory that macOS keeps wired: `off`, `auto`, or a number.
    max_resident
        Maximum number of resident models. 0: no limit.
    swap_patience
        Seconds for which a model that waits for memory lets resident models accept new requests.
    idle_unload_minutes
        Minutes without a request after which a model is unloaded. 0: never.
    prefix_cache_entries, prefix_cache_bytes
        Limits of the prefix cache in memory.
    prefix_disk_path, prefix_disk_bytes
        Folder of the prefix cache on disk, and the bytes that it may take (0: no disk cache).
    prefix_disk_hourly_bytes
        Bytes that it may write within an hour. 0: no limit.
    sandbox_seconds
        Processor time that rendering a chat template or decoding an image may take.
    warm_up
        Compile a model's kernels when it is loaded.
    """

    max_batch: int = 32
    prefill_step: int = 4096
    max_pause: float = 0.5
    max_prompt_tokens: int | None = None
    memory_budget: int | None = None
    wired_limit: str = "off"
    max_resident: int = 0
    swap_patience: float = 5.0
    idle_unload_minutes: float = 15.0
    prefix_cache_entries: int = 64
    prefix_cache_bytes: int | None = None
    prefix_disk_path: str | None = None
    prefix_disk_bytes: int = 0
    prefix_disk_hourly_bytes: int = 0
    sandbox_seconds: int = 10
    warm_up: bool = True
    log_level: str = "INFO"
