"""What MLX runs on, how much memory there is, and giving back what is free."""

import ctypes
import sys
from importlib.metadata import version

import mlx.core as mx
import psutil


def device_memory() -> int:
    """Bytes that models may reasonably use: what Metal recommends, else what the machine has."""
    if mx.metal.is_available():
        return int(mx.device_info()["max_recommended_working_set_size"])
    return int(psutil.virtual_memory().total)


def versions() -> tuple[str, ...]:
    """What computed numbers depend on beside the model: the device and the libraries."""
    return str(mx.default_device()), version("mlx"), version("mlx-lm")


def return_freed_memory() -> None:
    """Hand freed pages back to the system: glibc keeps them otherwise (measured: 270 MB)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)
