"""The memory of the device that MLX runs on, and how to return unused memory to the system."""

import ctypes
import gc
import sys
from importlib.metadata import version

import mlx.core as mx

from mlx_notebook.model_files.machine_memory import main_memory


def device_memory() -> int:
    """Return the bytes of memory of the GPU, or on a CPU those that this process may use."""
    if mx.default_device() == mx.gpu:
        info = mx.device_info()
        for key in ("max_recommended_working_set_size", "total_memory", "memory_size"):
            if key in info:
                return int(info[key])
    return main_memory()


def versions() -> tuple[str, ...]:
    """Return what results depend on beside the model: the device and the libraries' versions."""
    return str(mx.default_device()), version("mlx"), version("mlx-lm")


def release_memory() -> None:
    """Return to the system what nothing refers to any more, and what MLX keeps for later arrays."""
    gc.collect()
    mx.clear_cache()
    return_freed_memory()


def return_freed_memory() -> None:
    """Return freed pages to the system; glibc would keep them (measured: 270 MB)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)
