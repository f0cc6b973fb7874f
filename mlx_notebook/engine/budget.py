"""How much memory models may take together."""

import mlx.core as mx

from mlx_notebook.engine.memory import device_memory

# What Metal recommends is meant for the GPU alone; what is left holds MLX's cache and prefixes.
_GPU_SHARE = 0.85
# On a CPU it is the memory that notebooks and everything else live in too.
_CPU_SHARE = 0.6


def default_budget() -> int:
    """Bytes for all models together, where nobody said how much."""
    return int(device_memory() * (_GPU_SHARE if mx.default_device() == mx.gpu else _CPU_SHARE))
