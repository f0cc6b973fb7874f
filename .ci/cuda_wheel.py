"""Build mlx-notebook-cuda: the same package over MLX's CUDA library in place of the CPU's.

Usage: python .ci/cuda_wheel.py [FOLDER]    # writes the wheel to FOLDER, by default dist/

MLX's backend wheels own the same files, so that an extra beside `mlx[cpu]` would install both over
each other. Two distributions leave one choice an environment, which pip and uv both honour.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CHANGES = {
    'name = "mlx-notebook"\n': 'name = "mlx-notebook-cuda"\n',
    "\"mlx[cpu]>=0.32.4; sys_platform == 'linux'\"": (
        "\"mlx[cuda13]>=0.32.4; sys_platform == 'linux'\""
    ),
}


def project(text: str) -> str:
    """Return `pyproject.toml` as mlx-notebook-cuda has it.

    Raises
    ------
    ValueError
        If a line that is to be replaced is not there exactly once.
    """
    for old, new in _CHANGES.items():
        if text.count(old) != 1:
            raise ValueError(f"pyproject.toml has {text.count(old)} places with {old!r}")
        text = text.replace(old, new)
    return text


def main() -> None:
    """Copy what git tracks, change its `pyproject.toml`, build the wheel."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist").absolute()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in filter(None, listed.stdout.decode().split("\0")):
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy)
        file = Path(folder, "pyproject.toml")
        file.write_text(project(file.read_text()))
        build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(target), folder]
        subprocess.run(build, check=True)


if __name__ == "__main__":
    main()
