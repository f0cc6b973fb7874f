"""A public class or a module means one thing in each process."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlx_notebook"
PROCESSES = {
    "engine": ("engine", "protocol", "model_files"),
    "server": ("server", "protocol", "model_files"),
    "kernel": ("notebook", "panels"),
}


def files(process: str) -> Iterator[Path]:
    for folder in PROCESSES[process]:
        yield from (PACKAGE / folder).rglob("*.py")


def ambiguous(names: dict[str, set[str]]) -> dict[str, set[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


@pytest.mark.parametrize("process", PROCESSES)
def test_no_public_class_has_the_name_of_another(process: str) -> None:
    classes = defaultdict[str, set[str]](set)
    for file in files(process):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].add(str(file.relative_to(PACKAGE)))
    assert len(classes) > 10
    assert ambiguous(classes) == {}


@pytest.mark.parametrize("process", PROCESSES)
def test_no_module_has_the_name_of_another(process: str) -> None:
    modules = defaultdict[str, set[str]](set)
    for file in files(process):
        if not file.stem.startswith("__"):
            modules[file.stem].add(str(file.relative_to(PACKAGE)))
    assert len(modules) > 10
    assert ambiguous(modules) == {}
