"""The steps of Binder, run in a fresh environment.

A virtual environment replaces conda's. It uses the libraries of the environment of the tests, so
that nothing large is downloaded; only the package itself is built and installed by `postBuild`. The
lists for conda and apt are checked, but nothing in them is installed.
"""

import os
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Run `postBuild` in an environment. Return the variables for programs in it."""
    home = tmp_path_factory.mktemp("binder")
    fresh = home / "env"
    venv.create(fresh, with_pip=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = fresh / "lib" / version / "site-packages"
    lent = [path for path in site.getsitepackages() if Path(path).is_dir()]
    # `addsitedir` would also add an editable install of the package.
    (packages / "lent.pth").write_text("\n".join(lent) + "\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER", "MLX_"))}
    env |= {
        "PATH": f"{fresh / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # The data of these packages, such as nbconvert's templates.
        "JUPYTER_PATH": f"{sys.prefix}/share/jupyter",
    }
    subprocess.run([BINDER / "postBuild"], cwd=ROOT, env=env, check=True, timeout=240)
    return env


def run(env, *command):
    """Run a command through `start`, as Binder does."""
    done = subprocess.run(
        [BINDER / "start", *command], env=env, capture_output=True, text=True, timeout=240,
        cwd=env["HOME"], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_pins_a_python_that_the_package_supports():
    told = yaml.safe_load((BINDER / "environment.yml").read_text())
    (python,) = [d for d in told["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(python.removeprefix("python=")) in SpecifierSet(project["requires-python"])


def test_the_apt_packages_are_a_compiler_and_a_blas():
    names = (BINDER / "apt.txt").read_text().split()
    assert "g++" in names
    assert any(name.startswith("libopenblas") for name in names)


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_the_scripts_can_be_run(name):
    file = BINDER / name
    assert os.access(file, os.X_OK)
    assert file.read_text().startswith("#!/usr/bin/env bash\n")


def test_the_server_has_the_extension_and_a_notebook_runs(built):
    where = run(built, "python", "-c", "import mlx_notebook; print(mlx_notebook.__file__)")
    assert where.startswith(built["HOME"])
    listed = run(built, "python", "-m", "jupyter_server.extension.serverextension", "list")
    assert "mlx_notebook" in listed
    assert "enabled" in listed
    shown = run(
        built, "python", "-m", "nbconvert", "--to", "markdown", "--execute", "--stdout",
        str(ROOT / "notebooks" / "quickstart.ipynb"),
    )  # fmt: skip
    assert "Your name is Ada." in shown
