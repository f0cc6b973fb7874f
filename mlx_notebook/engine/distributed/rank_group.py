"""All ranks: how the tokens of rank 0 reach the others, and how long a rank waits for others."""

import time
from collections.abc import Sequence

import mlx.core as mx

_MEASURED = 64
"""One of this many broadcasts is timed. To time one, a rank must first have computed all before."""


class RankGroup:
    """The ranks that compute together.

    Attributes
    ----------
    group
        The same for MLX.
    waited_seconds
        Estimate of the time for which this rank has waited for others: what it waited before the
        broadcasts that were timed, and as long before each of the others.
    """

    def __init__(self, group: mx.distributed.Group):
        self.group = group
        self.waited_seconds = 0.0
        self._broadcasts = 0

    @property
    def size(self) -> int:
        """The number of ranks."""
        return int(self.group.size())

    def broadcast(self, tokens: mx.array, before: Sequence[mx.array] = ()) -> mx.array:
        """Return the tokens of rank 0, without waiting for them to be computed.

        The ranks begin it before the model's own communication. A part of a pipeline that received
        hidden states first would wait for a rank that waits for these tokens.

        Parameters
        ----------
        tokens
            On the other ranks, zeros of the same shape.
        before
            What this rank computes before.
        """
        self._broadcasts += 1
        if self._broadcasts % _MEASURED == 0:
            mx.eval(tokens, before)
            began = time.perf_counter()
            mx.eval(mx.distributed.all_sum(mx.zeros(1), group=self.group))
            self.waited_seconds += _MEASURED * (time.perf_counter() - began)
        received: mx.array = mx.distributed.all_sum(tokens, group=self.group)
        mx.async_eval(received)
        return received
