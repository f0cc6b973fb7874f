"""The process of one job, beside the engine: `python -m mlx_notebook.engine.job_process`.

`protocol/job_messages.py` describes what it reads and writes. It computes on the engine's device,
in memory that the engine keeps free for it. Where they share a CPU, the engine goes first.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from mlx_notebook.engine.distributed.rank_process import log_format
from mlx_notebook.engine.errors import EngineError, reason
from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.engine.runtime.blas import preload, uses_cpu
from mlx_notebook.protocol import (
    ConvertSpec,
    FinetuneSpec,
    JobDone,
    JobFailed,
    JobSpec,
    MergeSpec,
)

log = logging.getLogger("mlx_notebook.job")

_NICE = 5


def _finetune(spec: FinetuneSpec, channel: JobChannel) -> dict[str, Any]:
    from mlx_notebook.engine.training.finetuning import finetune

    return finetune(spec, channel)


def _merge(spec: MergeSpec, channel: JobChannel) -> dict[str, Any]:
    from mlx_notebook.engine.training.merging import merge

    return merge(spec, channel)


def _convert(spec: ConvertSpec, channel: JobChannel) -> dict[str, Any]:
    from mlx_notebook.engine.conversion.converting import convert

    return convert(spec, channel)


WORK: dict[type, Callable[[Any, JobChannel], dict[str, Any]]] = {
    FinetuneSpec: _finetune,
    MergeSpec: _merge,
    ConvertSpec: _convert,
}
"""What does each kind of job. It returns the result, and lets `StopWanted` pass."""


def main() -> None:
    """Read what to do, do it, and tell how it ended."""
    logging.basicConfig(level="INFO", format=log_format(None))
    preload()
    if uses_cpu():
        # A job compiles each function for a few lengths: that takes longer than it saves.
        os.environ["MLX_DISABLE_COMPILE"] = "1"
    os.nice(_NICE)
    # Libraries print to the standard output, which belongs to the messages.
    target = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    source = sys.stdin.buffer
    spec = msgspec.json.decode(source.readline(), type=JobSpec)
    channel = JobChannel(source, target)
    channel.listen()
    run(spec, channel)
    target.close()
    # The thread that listens waits for the server.
    os._exit(0)


def run(spec: JobSpec, channel: JobChannel) -> None:
    """Do a job, and send its last message."""
    try:
        channel.send(JobDone(WORK[type(spec)](spec, channel)))
    except StopWanted as stop:
        channel.stopped(stop.text)
    except EngineError as error:
        channel.send(JobFailed(error.code, error.message, error.param))
    except MemoryError:
        channel.send(JobFailed("insufficient_memory", "The memory of this machine ran out."))
    except Exception as error:
        log.exception("the job failed")
        channel.send(JobFailed("engine_error", f"The job failed: {reason(error)}."))


if __name__ == "__main__":
    main()
