"""Which of MLX's libraries is installed, found without importing MLX.

On Linux the `mlx` wheel has no library of its own: `mlx-cpu`, `mlx-cuda-12` and `mlx-cuda-13` each
bring one, all under the same path. With two of them installed, the one that was installed last has
overwritten the other.
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
        The installed distributions that bring one, by name.
    name
        The one whose library is in place; None if no installed distribution brought it.
    """

    names: list[str]
    name: str | None

    @property
    def uses_cuda(self) -> bool:
        """Whether the library in place computes on an NVIDIA GPU."""
        return (self.name or "").startswith("mlx-cuda")


def installed(path: list[str] | None = None) -> Library:
    """Look at the installed distributions.

    Parameters
    ----------
    path
        Folders to look in; by default those of `sys.path`.
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
    """Say what is wrong with the installed library and how to put it right.

    Returns
    -------
    message, fatal
        One sentence or two; `fatal` if MLX cannot run like this. None if all is well.
    """
    if sys.platform != "linux":
        return None
    if not library.names:
        return (
            "MLX has no library in this environment: `pip install mlx-notebook` brings the one for "
            "CPUs, `pip install mlx-notebook-cuda` the one for NVIDIA GPUs.",
            True,
        )
    if library.uses_cuda and not _has_driver():
        return (
            f"MLX's library here is that of {library.name}, and this machine has no NVIDIA driver "
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
    """Whether the library on disk is the one that this distribution brought, told by its size."""
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
