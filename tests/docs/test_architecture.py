"""The files and functions that the architecture page names exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mlx_notebook"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def definitions(file: Path) -> set[str]:
    """Return the names of a module's classes, functions and methods (`Class.method`)."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {node.name, *(f"{node.name}.{method.name}" for method in inner)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def test_each_step_of_a_request_names_code_that_exists() -> None:
    steps = re.findall(r"^\| \d+ \| `([\w/.]+)` `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert len(steps) > 15
    missing = [f"{file} {name}" for file, name in steps if name not in definitions(PACKAGE / file)]
    assert not missing


def test_every_file_and_folder_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", PAGE))
    assert len(named) > 40
    places = [ROOT, PACKAGE, PACKAGE / "engine", PACKAGE / "server"]
    inner = {f"{file.parent.name}/" for file in PACKAGE.rglob("*/*/*/__init__.py")}
    missing = [
        name
        for name in sorted(named - inner)
        if "NAME" not in name and not any((place / name).exists() for place in places)
    ]
    assert not missing


def test_every_room_is_described() -> None:
    for top, form in (("engine", "`{}/`"), ("server", "`{}/`"), ("notebook", "`notebook/{}/`")):
        rooms = [path.parent.name for path in (PACKAGE / top).glob("*/__init__.py")]
        assert rooms
        assert not [room for room in rooms if form.format(room) not in PAGE], top
