"""Define the settings about the engine process."""

from typing import Any

from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    HasTraits,
    Integer,
    TraitError,
    Unicode,
    validate,
)


class EngineConfiguration(HasTraits):
    """Hold the traits about the engine: its ranks, its time limits and its prefix cache."""

    wired_limit = Unicode(
        "off",
        help="""How many bytes of memory macOS keeps wired for the engine, so that it neither
        compresses nor pages them out: "off" (none), "auto" (the models' weights, while they take
        more than half of what Metal recommends), or a number. Wired memory made macOS panic under
        load: see the page Memory on a Mac. No effect without Metal.""",
    ).tag(config=True)

    ranks = Integer(
        1,
        min=1,
        help="""Number of processes on this machine that compute each model together. With more than
        one, each holds a part of a model's weights. For several machines, set hostfile instead.""",
    ).tag(config=True)

    hostfile = Unicode(
        "",
        help="""Path of a hostfile of mlx.launch, which mlx.distributed_config writes: the machines
        that compute each model together. The first one must be this machine. The others are reached
        with ssh. Empty: this machine only.""",
    ).tag(config=True)

    distributed_backend = CaselessStrEnum(
        ["any", "ring", "jaccl", "jaccl-ring", "nccl"],
        default_value="any",
        help="""How ranks exchange arrays: "ring" (TCP), "jaccl" (RDMA over Thunderbolt), "nccl"
        (NVIDIA). "any": the backend of the hostfile; else jaccl if every host lists its RDMA
        devices, nccl with CUDA, and ring otherwise.""",
    ).tag(config=True)

    start_engine_at_startup = Bool(
        help="""Start the engine process with the server, and not with the first request. Default:
        only for jupyter mlx-notebook."""
    ).tag(config=True)

    engine_env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables of the engine process, in addition to those of the server.",
    ).tag(config=True)

    engine_timeout_seconds = Float(
        30.0,
        min=1.0,
        help="Kill and restart the engine if it has sent nothing for this many seconds.",
    ).tag(config=True)

    step_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="""Kill and restart the engine if one step takes this many seconds (a token for each
        running request, or prefill_step tokens of a prompt), or if preparing a prompt takes this
        long. The first steps of a model may have to compile and may take four times as long.
        Loading a model has no limit.""",
    ).tag(config=True)

    prefix_cache_bytes = Integer(
        0, min=0, help="Memory for the prefix cache, in bytes. 0: the engine chooses."
    ).tag(config=True)

    prefix_cache_entries = Integer(64, min=0, help="Most entries of the prefix cache.").tag(
        config=True
    )

    prefix_disk_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""Disk space for the prefix cache of prompts that are likely to come back, in bytes.
        They need not be computed again after a model is unloaded or the engine restarts. They are
        in Jupyter's data directory, readable by you only. The least recently used ones are deleted
        first. 0: none are kept.""",
    ).tag(config=True)

    prefix_disk_hourly_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""Most bytes that the prefix cache writes to disk within an hour, so that the disk is
        not worn. Beyond that, prompts are kept in memory only. mlx/status tells what was written
        and what was skipped. 0: no limit.""",
    ).tag(config=True)

    @validate("hostfile")
    def _check_hostfile(self, proposal: dict[str, Any]) -> str:
        value: str = proposal["value"]
        if value:
            from mlx_notebook.server.engine.hostfile import read_hostfile

            try:
                read_hostfile(value)
            except ValueError as error:
                raise TraitError(f"MlxNotebookApp.hostfile: {error}") from None
        return value

    @validate("wired_limit")
    def _check_wired_limit(self, proposal: dict[str, Any]) -> str:
        value: str = proposal["value"]
        if value not in ("off", "auto") and not (value.isdecimal() and value.isascii()):
            raise TraitError(
                "MlxNotebookApp.wired_limit is 'off', 'auto' or a number of bytes such as "
                f"'8000000000', and not {value!r}."
            )
        return value
