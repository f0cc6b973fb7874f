"""Loads a fast BLAS for MLX on Linux CPUs, before MLX is imported.

MLX's CPU wheel contains the reference BLAS. With OpenBLAS preloaded, prompts are computed 4 to 40
times faster. A library can be preloaded only when a process starts, so the engine restarts itself
once with `LD_PRELOAD` set.
"""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_path

from mlx_notebook.engine.runtime.mlx_library import installed

log = logging.getLogger(__name__)

SETTING = "MLX_NOTEBOOK_BLAS"
"""Environment variable: the path of a library, or `off`. If it is not set, one is searched."""

_DONE = "_MLX_NOTEBOOK_BLAS_PRELOADED"


def uses_cpu() -> bool:
    """Return whether MLX computes on the CPU, from the installed wheels, without importing it."""
    return sys.platform == "linux" and not installed().uses_cuda


def candidates() -> Iterator[Path]:
    """Yield OpenBLAS libraries with plain symbol names: from opencv's wheel, then the system's."""
    for site in {get_path("platlib"), get_path("purelib")}:
        yield from sorted(Path(site).glob("opencv_python*.libs/libopenblas*.so*"))
    for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib"):
        yield from sorted(Path(folder).glob("*/openblas-pthread/libopenblas.so.0"))
        yield from sorted(Path(folder).glob("libopenblas.so.0"))


def preload() -> None:
    """Restart this process with OpenBLAS, if MLX uses the CPU and the library is found.

    In that case it does not return. It returns in the new process, or if there is nothing to do.
    """
    loaded = os.environ.pop(_DONE, None)
    if loaded is not None:
        # The compilers and other children of this process must not inherit it.
        os.environ.pop("LD_PRELOAD", None)
        log.info("OpenBLAS preloaded: %s", loaded)
        return
    setting = os.environ.get(SETTING, "")
    if setting.lower() == "off" or not uses_cpu():
        return
    if "openblas" in os.environ.get("LD_PRELOAD", ""):
        log.info("OpenBLAS is preloaded already: %s", os.environ["LD_PRELOAD"])
        return
    library = Path(setting) if setting else next(candidates(), None)
    if library is None or not library.exists():
        log.warning(
            "no OpenBLAS found%s: prompts will be slow on this CPU (apt install libopenblas0)",
            f" at {library}" if library else "",
        )
        return
    environment = dict(os.environ)
    environment["LD_PRELOAD"] = " ".join(
        filter(None, [str(library), environment.get("LD_PRELOAD", "")])
    )
    environment[_DONE] = str(library)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def without_compiler() -> bool:
    """Return whether MLX runs on the CPU without the C++ compiler that `mx.compile` needs there."""
    return uses_cpu() and shutil.which("g++") is None
