"""The panels' scripts and styles and the JupyterLab extension are formatted and linted.

The tool is biome, in the version that `package-lock.json` names. `npm ci` in the repository's root
installs it, and `npm run fix` formats everything.
"""

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
from pathlib import Path

import pytest

from mlx_notebook import panels

ROOT = Path(__file__).parents[1]
REQUIRED = "MLX_NOTEBOOK_REQUIRE_NODE"


@pytest.fixture(scope="module")
def biome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the installed program, or install it where it must run."""
    program = Path("node_modules", ".bin", "biome")
    if not os.environ.get(REQUIRED):
        if not (ROOT / program).exists():
            pytest.skip(f"biome is not installed: run `npm ci`, or set {REQUIRED}=1")
        return ROOT / program
    assert shutil.which("npm"), "no npm is installed, and this test must run"
    folder = tmp_path_factory.mktemp("biome")
    for name in ("package.json", "package-lock.json"):
        shutil.copy2(ROOT / name, folder)
    run(["npm", "ci", "--no-audit", "--no-fund"], folder)
    return folder / program


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> dict[str, str]:
    """Return the ES module of each panel as the browser gets it: shared files, then its own."""
    found = {}
    for info in pkgutil.walk_packages(panels.__path__, f"{panels.__name__}."):
        for name, value in vars(importlib.import_module(info.name)).items():
            text = isinstance(value, type) and vars(value).get("_esm")
            if text:
                found[name] = str(text)
    return found


def test_the_sources_are_formatted_and_linted(biome: Path) -> None:
    run([str(biome), "ci", "--error-on-warnings"], ROOT)


def test_a_panel_uses_no_name_that_none_of_its_files_declares(biome: Path, tmp_path: Path) -> None:
    rules = {"preset": "none", "correctness": {"noUndeclaredVariables": "error"}}
    (tmp_path / "biome.json").write_text(json.dumps({"linter": {"rules": rules}}))
    texts = modules()
    assert len(texts) >= 5
    for name, text in texts.items():
        assert "export default" in text
        (tmp_path / f"{name}.js").write_text(text)
    run([str(biome), "lint", "."], tmp_path)
    # The check finds such a name.
    (tmp_path / "Broken.js").write_text("export default { render: () => undeclared() };\n")
    with pytest.raises(AssertionError, match="noUndeclaredVariables"):
        run([str(biome), "lint", "."], tmp_path)
