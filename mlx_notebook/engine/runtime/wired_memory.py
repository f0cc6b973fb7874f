"""How much of the models' memory macOS must keep wired: present for the GPU, never compressed.

mlx-lm wires as much as the system recommends while it generates. On macOS that can make the kernel
panic while two streams run and KV caches come and go. In a test it did in 3 of 3 runs, and without
wired memory in 0 of 10 (https://github.com/ml-explore/mlx/issues/3186). So this engine wires
nothing by default. Without it, a model that nearly fills the memory can be slow: the system pages
its weights out (https://github.com/ml-explore/mlx-lm/pull/652).
"""

import logging
from collections.abc import Callable

import mlx.core as mx
from mlx_lm.generate import generation_stream

from mlx_notebook.model_files.machine_memory import format_bytes

log = logging.getLogger(__name__)

_LARGE_SHARE = 0.5
"""`auto` wires weights that take more than this part of the recommended working set."""


class WiredLimit:
    """The limit on wired memory, which follows the models in memory.

    Parameters
    ----------
    setting
        `off`, `auto`, or a number of bytes.
    recommended
        The working set that the system recommends, in bytes. None: there is no Metal, and the
        limit has no effect.
    set_limit
        Sets the limit in bytes and returns the previous one.

    Attributes
    ----------
    limit
        The limit now, in bytes; 0 if nothing is wired.
    """

    def __init__(
        self, setting: str, recommended: int | None, set_limit: Callable[[int], int] | None = None
    ):
        self._setting, self._recommended = setting, recommended
        self._set_limit = set_limit or _set_limit
        self._before: int | None = None
        self.limit = 0
        if setting != "off" and recommended is None:
            log.warning("wired_limit has no effect: this machine has no Metal")
        elif setting != "off":
            log.info("wired_limit is %s: see the page Memory on a Mac", setting)

    def fit(self, weights: int) -> None:
        """Set the limit for models with so many bytes of weights; call it after each change."""
        wanted = self._wanted(weights)
        if wanted == self.limit:
            return
        before = self._set_limit(wanted)
        if self._before is None:
            self._before = before
        self.limit = wanted
        log.debug("wired memory: at most %s", format_bytes(wanted))

    def restore(self) -> None:
        """Set the limit that was there before."""
        if self._before is not None:
            self._set_limit(self._before)
            self._before, self.limit = None, 0

    def _wanted(self, weights: int) -> int:
        """Return the limit for so many bytes of weights.

        `auto` wires no more bytes than the weights have. So KV caches and buffers, which come and
        go, are mostly not wired.
        """
        if self._recommended is None or self._setting == "off":
            return 0
        if self._setting == "auto":
            is_large = weights > _LARGE_SHARE * self._recommended
            return min(weights, self._recommended) if is_large else 0
        return min(int(self._setting), self._recommended)


def recommended_working_set() -> int | None:
    """Return the bytes that the system recommends to use at most; None without Metal."""
    if not mx.metal.is_available() or mx.default_device() != mx.gpu:
        return None
    size = mx.device_info().get("max_recommended_working_set_size")
    return None if size is None else int(size)


def _set_limit(limit: int) -> int:
    # MLX does not allow a change while it computes.
    mx.synchronize(generation_stream)
    return int(mx.set_wired_limit(limit))
