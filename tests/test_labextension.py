"""The JupyterLab extension passes its checks, and the committed one is what its sources give."""

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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sources with all npm packages, built."""
    if not os.environ.get(REQUIRED):
        pytest.skip(f"it fetches npm packages: set {REQUIRED}=1 to have it run")
    assert shutil.which("npm"), "no npm is installed, and this test must run"
    folder = tmp_path_factory.mktemp("sources")
    copy = folder / "labextension"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("node_modules", "lib", "bundle"))
    # The dashboard is drawn by the panels' own scripts.
    shutil.copytree(SOURCES.parent / "mlx_notebook/panels", folder / "mlx_notebook/panels")
    npm(copy, "ci", "--no-audit", "--no-fund")
    npm(copy, "run", "build")
    return copy


def npm(folder: Path, *command: str) -> None:
    # Use the `jupyter-builder` of this environment, which may not be activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        ["npm", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_committed_bundle_is_built_from_the_sources(built: Path) -> None:
    assert code(built)
    assert code(built) == code(SOURCES)
    schemas = "bundle/schemas/mlx-notebook/plugin.json"
    assert (built / schemas).read_text() == (SOURCES / schemas).read_text()


@pytest.mark.parametrize("command", ["check", "test"])
def test_the_sources_pass_their_own_checks(built: Path, command: str) -> None:
    npm(built, "run", command)
