"""How much memory models may take, as far as the server knows it without the engine."""

import os
import sys
from functools import cache

from mlx_notebook.model_files.machine_memory import main_memory, models_share

# Metal recommends two thirds of a Mac's memory to three quarters; the engine knows it exactly.
_METAL_SHARE = 0.7


@cache
def default_memory_limit() -> int:
    """Estimate the bytes that models may take on this machine, before an engine has told."""
    if sys.platform == "darwin":
        return models_share(int(main_memory() * _METAL_SHARE), gpu=True)
    return models_share(main_memory(), gpu=False)


def full_precision(device: str | None) -> bool:
    """Whether the engine computes in 32 bits: on a CPU; without an engine yet, as one would."""
    if device is not None:
        return "cpu" in device.lower()
    return sys.platform != "darwin" and not os.path.exists("/dev/nvidiactl")


def format_bytes(count: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
