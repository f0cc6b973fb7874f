"""What a rank other than rank 0 does: it repeats what rank 0 does."""

import mlx.core as mx

from mlx_notebook.engine.distributed.rank_channel import FollowerChannel
from mlx_notebook.protocol import EngineConfig

_WAIT_SECONDS = 1.0


def follow(config: EngineConfig, group: mx.distributed.Group, channel: FollowerChannel) -> None:
    """Do what rank 0 says until it ends, which ends this process.

    Parameters
    ----------
    config
        The engine's settings.
    group
        All ranks.
    channel
        The messages of rank 0.
    """
    while True:
        channel.receive(_WAIT_SECONDS)
