"""A fast BLAS for MLX on Linux CPUs, put in place before MLX is imported.

MLX's CPU wheel brings the reference BLAS. With an OpenBLAS preloaded into the process, prompts are
computed 4 to 40 times faster. A library can only be preloaded when a process starts, so the
engine starts itself anew, once, with `LD_PRELOAD` set.
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
"""Environment variable: a library's path, or `off`; unset means that one is looked for."""

_DONE = "_MLX_NOTEBOOK_BLAS_PRELOADED"


def uses_cpu() -> bool:
    """Whether MLX computes on the CPU here (told from installed wheels, not by import)."""
    return sys.platform == "linux" and not installed().uses_cuda


def candidates() -> Iterator[Path]:
    """OpenBLAS libraries with plain symbol names: opencv's wheel, then the system's."""
    for site in {get_path("platlib"), get_path("purelib")}:
        yield from sorted(Path(site).glob("opencv_python*.libs/libopenblas*.so*"))
    for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib"):
        yield from sorted(Path(folder).glob("*/openblas-pthread/libopenblas.so.0"))
        yield from sorted(Path(folder).glob("libopenblas.so.0"))


def preload() -> None:
    """Start this process anew with an OpenBLAS, where MLX uses the CPU and one is to be found.

    Does not return in that case; returns in the new process, or where there is nothing to do.
    """
    loaded = os.environ.pop(_DONE, None)
    if loaded is not None:
        # Not for the compilers and other children that this process starts.
        os.environ.pop("LD_PRELOAD", None)
        log.info("OpenBLAS preloaded: %s", loaded)
        return
    setting = os.environ.get(SETTING, "")
    if setting.lower() == "off" or not uses_cpu():
        return
    if "openblas" in os.environ.get("LD_PRELOAD", ""):
        log.info("OpenBLAS was preloaded already: %s", os.environ["LD_PRELOAD"])
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
    """Whether MLX's CPU backend lacks the C++ compiler that `mx.compile` needs there."""
    return uses_cpu() and shutil.which("g++") is None
