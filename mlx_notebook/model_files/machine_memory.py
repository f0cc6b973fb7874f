"""How much memory this machine has for models, in bytes."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

# Metal's recommended maximum is for the GPU alone. The rest is for MLX's and the prefix cache.
_GPU_SHARE = 0.85
# On a CPU, notebooks and everything else use the same memory.
_CPU_SHARE = 0.6
# Metal recommends between two thirds and three quarters of a Mac's memory. The engine knows it.
_METAL_SHARE = 0.7


def default_memory_budget(memory: int, *, gpu: bool) -> int:
    """Return the default memory budget of all models on a device with `memory` bytes."""
    return int(memory * (_GPU_SHARE if gpu else _CPU_SHARE))


@cache
def estimate_memory_budget() -> int:
    """Estimate the default memory budget of the engine, while no engine runs."""
    if sys.platform == "darwin":
        return default_memory_budget(int(main_memory() * _METAL_SHARE), gpu=True)
    return default_memory_budget(main_memory(), gpu=False)


def full_precision(device: str | None) -> bool:
    """Return whether the engine computes in 32 bits, which it does on a CPU.

    Parameters
    ----------
    device
        Name of the engine's device. None if no engine runs, for the device that it would use.
    """
    if device is not None:
        return "cpu" in device.lower()
    return sys.platform != "darwin" and not os.path.exists("/dev/nvidiactl")


def main_memory() -> int:
    """Return the main memory that this process may use."""
    return min([int(psutil.virtual_memory().total), *cgroup_limits()])


def cgroup_limits(
    groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield the memory limits of the process's control groups and their parents (containers).

    Versions 1 and 2, see https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    lines = groups.read_text().splitlines() if groups.is_file() else []
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds == "":
            root, file = tree, "memory.max"
        elif "memory" in kinds.split(","):
            root, file = tree / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / name.lstrip("/")
        # In a container, its own group is often mounted as the root.
        for group in (own, *own.parents):
            limit = group / file
            if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
                yield int(text)
            if group == root:
                break


def format_bytes(count: float) -> str:
    """Write a number of bytes for people, for example "1.5 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
