"""The metadata of the distributions."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import mlx_notebook

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_written_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"] == {"path": "mlx_notebook/__init__.py"}
    assert version("mlx-notebook") == mlx_notebook.__version__


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("package.json", ["version"]),
        ("package-lock.json", ["version"]),
        ("package-lock.json", ["packages", "", "version"]),
        ("bundle/package.json", ["version"]),
    ],
)
def test_the_jupyterlab_extension_has_the_version_of_the_package(
    file: str, where: list[str]
) -> None:
    told = json.loads((ROOT / "labextension" / file).read_text())
    for key in where:
        told = told[key]
    assert told == mlx_notebook.__version__


def test_the_changelog_has_a_section_for_this_version() -> None:
    heading = rf"^## {re.escape(mlx_notebook.__version__)}\b"
    assert re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
