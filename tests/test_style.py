"""The whole tree is linted, formatted and typed, and its arrows run one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mlx_notebook"
MLX = {"mlx", "mlx_lm", "mlx_vlm", "transformers", "numpy"}


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every module that the files below a folder import, anywhere in them."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield file, node.module


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_tree_passes(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_engine_imports_mlx() -> None:
    elsewhere = [
        f"{file.relative_to(ROOT)}: {module}"
        for file, module in imports(PACKAGE)
        if module.split(".")[0] in MLX
        and file.relative_to(PACKAGE).parts[0] not in ("engine", "demo_models")
    ]
    assert not elsewhere


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("engine", ("server", "notebook", "panels")),
        ("server", ("engine", "notebook", "panels")),
        ("notebook", ("engine", "server", "messages", "panels")),
        ("panels", ("engine", "server", "messages")),
    ],
)
def test_arrows_run_one_way(room: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {module}"
        for file, module in imports(PACKAGE / room)
        if module.startswith(tuple(f"mlx_notebook.{other}" for other in forbidden))
    ]
    assert not wrong
