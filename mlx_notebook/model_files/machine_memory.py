"""How much memory this machine has for models, in bytes; for server and engine."""

from collections.abc import Iterator
from pathlib import Path

import psutil

# What Metal recommends is meant for the GPU alone; what is left holds MLX's cache and prefixes.
_GPU_SHARE = 0.85
# On a CPU it is the memory that notebooks and everything else live in too.
_CPU_SHARE = 0.6


def models_share(memory: int, *, gpu: bool) -> int:
    """Return what all models together may take by default of a device's memory."""
    return int(memory * (_GPU_SHARE if gpu else _CPU_SHARE))


def main_memory() -> int:
    """Return the memory that this process may use."""
    return min([int(psutil.virtual_memory().total), *cgroup_limits()])


def cgroup_limits(
    groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield what the process's control groups, and those around them, allow it (containers).

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
