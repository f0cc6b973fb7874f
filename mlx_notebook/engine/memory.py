"""What MLX runs on, how much memory there is, and giving back what is free."""

import ctypes
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import psutil


def device_memory() -> int:
    """Bytes of the device that models run on; on a CPU those that this process may use."""
    if mx.default_device() == mx.gpu:
        info = mx.device_info()
        for key in ("max_recommended_working_set_size", "total_memory", "memory_size"):
            if key in info:
                return int(info[key])
    return min([int(psutil.virtual_memory().total), *cgroup_limits()])


def cgroup_limits(
    groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What the process's control groups, and those around them, allow it (Linux containers).

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
        # Within a container its own group is often mounted as the root.
        for group in (own, *own.parents):
            limit = group / file
            if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
                yield int(text)
            if group == root:
                break


def versions() -> tuple[str, ...]:
    """What computed numbers depend on beside the model: the device and the libraries."""
    return str(mx.default_device()), version("mlx"), version("mlx-lm")


def return_freed_memory() -> None:
    """Hand freed pages back to the system: glibc keeps them otherwise (measured: 270 MB)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)
