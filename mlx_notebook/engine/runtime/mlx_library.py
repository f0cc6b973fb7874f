"""Finds out which of MLX's libraries is installed, without importing MLX.

On Linux the `mlx` wheel contains no library. `mlx-cpu`, `mlx-cuda-12` and `mlx-cuda-13` each
contain one, all at the same path. If two of them are installed, the second has overwritten the
library of the first.
"""

import ctypes
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

_PATH = "mlx/lib/libmlx.so"


@dataclass(frozen=True)
class Library:
    """MLX's library in this environment.

    Attributes
    ----------
    names
        The installed distributions that contain a library.
    name
        The distribution whose library is there; None if it belongs to no installed one.
    """

    names: list[str]
    name: str | None

    @property
    def uses_cuda(self) -> bool:
        """Whether the library computes on an NVIDIA GPU."""
        return (self.name or "").startswith("mlx-cuda")


def installed(path: list[str] | None = None) -> Library:
    """Return MLX's library in this environment.

    Parameters
    ----------
    path
        Folders to search; by default those of `sys.path`.
    """
    found = {
        name: distribution
        for distribution in distributions(path=sys.path if path is None else path)
        if (name := str(distribution.metadata["Name"])).startswith(("mlx-cpu", "mlx-cuda"))
    }
    names = sorted(found)
    if len(names) == 1:
        return Library(names, names[0])
    return Library(names, next((name for name in names if _in_place(found[name])), None))


def problem(library: Library) -> tuple[str, bool] | None:
    """Return what is wrong with the installed library and how to fix it.

    Returns
    -------
    message, fatal
        One or two sentences; `fatal` if MLX cannot run. None if nothing is wrong.
    """
    if sys.platform != "linux":
        return None
    if not library.names:
        return (
            "MLX has no library in this environment: `pip install mlx-notebook` installs the one "
            "for CPUs, `pip install mlx-notebook-cuda` the one for NVIDIA GPUs.",
            True,
        )
    if library.uses_cuda and not _has_driver():
        return (
            f"MLX's library here is from {library.name}, but this machine has no NVIDIA driver "
            "(libcuda.so.1). Install the driver, or choose the CPU: "
            f"`pip uninstall {' '.join(library.names)}`, then `pip install 'mlx[cpu]'`.",
            True,
        )
    if len(library.names) > 1:
        return (
            f"{' and '.join(library.names)} overwrite each other's library; "
            f"{library.name or 'neither'} is in place. Keep one: uninstall both, then install "
            "mlx-notebook (CPU) or mlx-notebook-cuda (NVIDIA GPU).",
            library.name is None,
        )
    return None


def _in_place(distribution: Distribution) -> bool:
    """Return whether the library on disk has the size of this distribution's library."""
    for file in distribution.files or ():
        if str(file) == _PATH:
            path = Path(str(distribution.locate_file(file)))
            return path.is_file() and path.stat().st_size == file.size
    return False


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
