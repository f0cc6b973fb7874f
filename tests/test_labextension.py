"""The committed JupyterLab extension is the one that its sources produce."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "labextension"
REQUIRED = "MLX_NOTEBOOK_REQUIRE_NODE"


def code(folder: Path) -> dict[str, bytes]:
    """Return our own code in a bundle, which the builder wraps into `remoteEntry`."""
    files = (folder / "bundle" / "static").glob("*.js")
    return {file.name: file.read_bytes() for file in files if "remoteEntry" not in file.name}


def test_the_committed_bundle_is_built_from_the_sources(tmp_path: Path) -> None:
    if not os.environ.get(REQUIRED):
        pytest.skip(f"it fetches npm packages: set {REQUIRED}=1 to have it run")
    assert shutil.which("npm"), "no npm is installed, and this test must run"
    copy = tmp_path / "labextension"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("node_modules", "lib", "bundle"))
    # Use the `jupyter-builder` of this environment, which may not be activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert code(copy)
    assert code(copy) == code(SOURCES)
