"""Estimate the memory limit for models while no engine runs that knows it."""

import os
import sys
from functools import cache

from mlx_notebook.model_files.machine_memory import main_memory, models_share

# Metal recommends between two thirds and three quarters of a Mac's memory. The engine knows it.
_METAL_SHARE = 0.7


@cache
def default_memory_limit() -> int:
    """Estimate the bytes that all models may take on this machine."""
    if sys.platform == "darwin":
        return models_share(int(main_memory() * _METAL_SHARE), gpu=True)
    return models_share(main_memory(), gpu=False)


def full_precision(device: str | None) -> bool:
    """Whether the engine on this device computes in 32 bits, which it does on a CPU.

    Parameters
    ----------
    device
        Name of the engine's device; None if no engine runs, for the device that one would use.
    """
    if device is not None:
        return "cpu" in device.lower()
    return sys.platform != "darwin" and not os.path.exists("/dev/nvidiactl")


def format_bytes(count: float) -> str:
    """Write a number of bytes for people, for example "1.5 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
