"""Start one rank: its number, its secret, its part in MLX's communication, and its end."""

import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_notebook.engine.distributed.rank_channel import FollowerChannel, LeaderChannel
from mlx_notebook.protocol import RANK_WAITS, DistributedConfig

if TYPE_CHECKING:
    import mlx.core as mx

log = logging.getLogger(__name__)

_GO = b"go"
_MIB = 2**20
_LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


def own_rank() -> int:
    """Return the rank of this process, which `mlx.launch` has set; 0 without it."""
    return int(os.environ.get("MLX_RANK", "0"))


def log_format(config: DistributedConfig | None) -> str:
    """Return the format of log lines. Those of other ranks than rank 0 name the rank."""
    if config is None or (rank := own_rank()) == 0:
        return _LOG_FORMAT
    host = config.hosts[rank].replace("%", "%%")
    return f"%(levelname)s %(name)s: rank {rank} on {host}: %(message)s"


def read_secret() -> bytes:
    """Ask for the secret of this start and return it: the first line of standard input.

    Raises
    ------
    SystemExit
        If standard input ends before.
    """
    # Only now may it be sent: before, a terminal of ssh would still echo it.
    print(RANK_WAITS, own_rank(), flush=True)
    # Unbuffered, since what follows the line is not for here.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    if not line.strip():
        raise SystemExit("the engine ends: it got no secret from the process that started it")
    return line.strip()


def join_leader(
    config: DistributedConfig, channel: LeaderChannel
) -> tuple["mx.distributed.Group", int]:
    """Begin MLX's communication as rank 0, once all others are there. Call it in MLX's thread.

    Returns
    -------
    group, memory
        All ranks, and the bytes of memory that each of them may use.
    """
    channel.wait_for_ranks()
    channel.send(_GO)
    group, memory = _begin(config)
    channel.memory = _memory
    return group, memory


def run_follower(
    config: DistributedConfig,
    secret: bytes,
    import_follow: Callable[[], Callable[["mx.distributed.Group", FollowerChannel], None]],
) -> None:
    """Run another rank than rank 0 until the end of the process.

    Parameters
    ----------
    config
        The ranks' hosts, and the addresses of rank 0.
    secret
        Known to the ranks of this start only.
    import_follow
        Returns the function that does what rank 0 says. Both are called in the thread that owns
        MLX, and the import while others still start.
    """
    rank = own_rank()
    channel = FollowerChannel(config, rank, secret)

    def own_mlx() -> None:
        try:
            follow = import_follow()
            channel.memory = _memory
            while channel.receive(1.0) != _GO:
                log.debug("rank %d waits for the others", rank)
            group, _ = _begin(config)
            follow(group, channel)
        except BaseException as error:
            log.exception("the rank failed")
            channel.fail(f"{type(error).__name__}: {error}")

    owner = threading.Thread(target=own_mlx, name="mlx", daemon=True)
    owner.start()
    while owner.is_alive():
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], 0.5)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            log.warning("the process that started this rank is gone: the rank ends")
            break
    os._exit(1)


def _begin(config: DistributedConfig) -> tuple["mx.distributed.Group", int]:
    import mlx.core as mx

    from mlx_notebook.engine.runtime.device_memory import device_memory

    group = mx.distributed.init(strict=True, backend=config.backend)
    # `mlx.launch` leaves this file behind.
    if file := os.environ.get("MLX_HOSTFILE"):
        Path(file).unlink(missing_ok=True)
    # Ranks of one host share its memory. With nccl each has a GPU of its own.
    sharing = 1 if config.backend == "nccl" else config.hosts.count(config.hosts[own_rank()])
    own = mx.array([device_memory() // sharing // _MIB], mx.int32)
    # Each has an equal part of every model, so the smallest memory counts.
    return group, int(mx.distributed.all_gather(own, group=group).min().item()) * _MIB


def _memory() -> tuple[int, int]:
    import mlx.core as mx

    return mx.get_active_memory(), mx.get_peak_memory()
