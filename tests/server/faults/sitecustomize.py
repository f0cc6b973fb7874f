"""Faults of a real engine or server, provoked while it runs.

For a process that has this folder in PYTHONPATH. A file of a fault's name in the folder FAULTS
lets it happen: `step`, `loading` and `preparation` hold the engine there until the file has gone;
`clock` holds the seconds by which the clock on the wall is wrong.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULTS = Path(os.environ["FAULTS"])
right_time = time.time


def wrong_time() -> float:
    try:
        return right_time() + float((FAULTS / "clock").read_text() or 0)
    except FileNotFoundError:
        return right_time()


def held(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def hold(*args: Any, **options: Any) -> Any:
        while (FAULTS / name).exists():
            time.sleep(0.05)
        return function(*args, **options)

    return hold


def hold_engine() -> None:
    """Put the faults in, once the engine has imported what they are in."""
    module = "mlx_notebook.engine.scheduling.scheduler"
    while not hasattr(sys.modules.get(module), "Scheduler"):
        time.sleep(0.05)
    from mlx_notebook.engine.generation.runner import Runner
    from mlx_notebook.engine.residency.residency import Residency
    from mlx_notebook.engine.scheduling.prompt_workers import PromptWorkers

    Runner.step = held("step", Runner.step)  # type: ignore[method-assign]
    Residency.advance = held("loading", Residency.advance)  # type: ignore[method-assign]
    prepared = held("preparation", PromptWorkers._prepared)
    PromptWorkers._prepared = prepared  # type: ignore[method-assign]


time.time = wrong_time
if "mlx_notebook.engine" in sys.orig_argv:
    threading.Thread(target=hold_engine, daemon=True).start()
