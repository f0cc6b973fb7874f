"""Write the model that a benchmark measures."""

import subprocess
import sys
from pathlib import Path

from benchmarks.harness.contenders import ROOT
from benchmarks.models.shapes import NAMES


def prepare_model(source: str, target: Path, dtype: str, answers: str = "random") -> None:
    """Write the contenders' model in a separate process, so that this one does not load MLX.

    `answers` is for shapes with random weights (see `benchmarks.models.shapes`).
    """
    module = "benchmarks.models.shapes" if source in NAMES else "benchmarks.models.model"
    command = [sys.executable, "-m", module, source, str(target), "--dtype", dtype]
    if source in NAMES:
        command += ["--answers", answers]
    subprocess.run(command, check=True, cwd=ROOT)
