"""Configuration of the engine process, fixed when the server starts it."""

import msgspec

RANK_WAITS = "mlx-notebook: waiting for the secret as rank"
"""What a rank prints, with its number, when it can take its secret from standard input."""


RANKS_ENDED = "ERROR mlx_notebook.ranks: "
"""How the last line of the ranks' log begins. The rest of it says why they ended."""


class DistributedConfig(msgspec.Struct, kw_only=True, frozen=True):
    """Several ranks that compute together: processes on one machine or on several.

    The server names the hosts. `server/engine/rank_launch.py`, which starts the ranks, chooses the
    rest anew for each start.

    Attributes
    ----------
    hosts
        Name of each rank's host, for messages. The first one is this machine.
    hostfile
        Path of the hostfile. Empty: all ranks run on this machine.
    backend
        MLX's backend: `ring`, `jaccl`, `jaccl-ring` or `nccl`. `any`: chosen at the start.
    address
        Address at which rank 0 takes connections for messages, like `tcp://10.0.0.1:31000`.
    watch_address
        A second one, for heartbeats.
    """

    hosts: tuple[str, ...]
    hostfile: str = ""
    backend: str = "any"
    address: str = ""
    watch_address: str = ""


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
    distributed
        The ranks, if there are several. None: one process computes all.
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
    distributed: DistributedConfig | None = None
    log_level: str = "INFO"
