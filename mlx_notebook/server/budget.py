"""How much memory models may take, as far as the server knows it without the engine."""

import os
import sys
from functools import cache

import psutil

# The engine's own shares come to about this on a CPU and on Apple silicon alike.
_SHARE = 0.6


@cache
def machine_limit() -> int:
    """Estimate the bytes that models may take on this machine, before an engine has told."""
    return int(psutil.virtual_memory().total * _SHARE)


def full_precision(device: str | None) -> bool:
    """Whether the engine computes in 32 bits: on a CPU; without an engine yet, as one would."""
    if device is not None:
        return "cpu" in device.lower()
    return sys.platform != "darwin" and not os.path.exists("/dev/nvidiactl")


def size(count: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
