"""The whole tree is linted, formatted and typed, and its imports run one way."""

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
    """Yield every module that a file below the folder imports, anywhere in it."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield file, node.module
                # `from package import module` names a module too.
                yield from ((file, f"{node.module}.{alias.name}") for alias in node.names)


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
        # Vectors of texts are arrays in the kernel, and sound may come as one of another library.
        and not (
            module == "numpy"
            and file.parent in (PACKAGE / "notebook" / "vectors", PACKAGE / "notebook" / "sound")
        )
    ]
    assert not elsewhere


@pytest.mark.parametrize(
    ("top", "forbidden"),
    [
        ("protocol", ("model_files", "engine", "server", "notebook", "panels")),
        ("model_files", ("engine", "server", "notebook", "panels")),
        ("engine", ("server", "notebook", "panels")),
        ("server", ("engine", "notebook", "panels")),
        ("notebook", ("engine", "server", "protocol", "model_files", "panels")),
        ("panels", ("engine", "server", "protocol", "model_files")),
    ],
)
def test_imports_between_the_top_folders_run_one_way(top: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {module}"
        for file, module in imports(PACKAGE / top)
        if module.split(".")[0] == "mlx_notebook"
        and module.split(".")[1:2] in [[name] for name in forbidden]
    ]
    assert not wrong


# Each room may import from the rooms before it in its list, and from no other.
ROOMS = {
    "engine": (
        *("errors", "sandbox", "functions", "grammar", "dialects", "sampling", "images", "audio"),
        *("prompts", "infilling", "kv_cache", "gguf", "speculative", "batching", "runtime"),
        *("distributed", "reranking", "backends", "generation", "residency", "scheduling"),
        *("__main__", "jobs", "training", "conversion", "job_process"),
    ),
    "server": (
        *("errors", "model_errors", "storage", "listening", "identity"),
        *("users", "wire"),
        *("telemetry", "engine", "jobs", "upstreams", "mcp", "responses", "conversations"),
        *("batches", "models", "media", "services"),
        *("api", "relay", "configuration", "standalone", "lazy_parts", "command_line"),
        *("app", "private", "__main__"),
    ),
    "notebook": (
        *("plain_text", "errors", "escaping", "shell", "human_units", "signing", "interrupts"),
        *("background_loop", "inputs", "schemas", "answers", "server", "rendering", "recording"),
        *("connection", "tools", "sidebar", "jobs", "chat", "tables", "vectors", "evaluation"),
        *("training", "conversion", "probabilities", "sound", "magics"),
    ),
    "panels": ("base", "admin", "stats", "inspector", "chat", "models", "dashboard"),
}


@pytest.mark.parametrize("top", ROOMS)
def test_imports_between_rooms_run_one_way(top: str) -> None:
    order = {room: place for place, room in enumerate(ROOMS[top])}
    rooms = {path.stem for path in (PACKAGE / top).iterdir() if path.stem[0] != "_"}
    assert rooms == set(order) - {"__main__"}
    wrong = []
    for file, module in imports(PACKAGE / top):
        room = file.relative_to(PACKAGE / top).parts[0].removesuffix(".py")
        parts = module.split(".")
        if parts[:2] != ["mlx_notebook", top] or room == "__init__":
            continue
        target = parts[2] if len(parts) > 2 else None
        if target is not None and target != room and order[target] > order[room]:
            wrong.append(f"{file.relative_to(ROOT)}: {module}")
    assert not wrong


@pytest.mark.parametrize("top", ["engine", "server", "notebook", "panels"])
def test_no_module_imports_itself_in_a_circle(top: str) -> None:
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in (PACKAGE / top).rglob("*.py")
    }
    imported: dict[str, set[str]] = {module: set() for module in modules}
    for file, module in imports(PACKAGE / top):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        imported[name] |= {module} & modules - {name}
    # Remove the modules that import none of the others, again and again: a circle remains.
    while free := {name for name, targets in imported.items() if not targets}:
        imported = {name: targets - free for name, targets in imported.items() if name not in free}
    assert not imported


@pytest.mark.parametrize("top", ["engine", "server", "notebook", "panels"])
def test_no_folder_inside_a_room_imports_in_a_circle(top: str) -> None:
    """A folder inside a room counts as one, and each module beside it as one."""
    depth = len((PACKAGE / top).relative_to(ROOT).parts)
    places: dict[str, dict[str, set[str]]] = {}
    for file, module in imports(PACKAGE / top):
        own = file.relative_to(ROOT).with_suffix("").parts
        parts = module.split(".")
        room = ".".join(own[: depth + 1])
        if parts[: depth + 1] != list(own[: depth + 1]) or len(parts) < depth + 2:
            continue
        place, target = own[depth + 1], parts[depth + 1]
        if (
            place != target
            and (ROOT / Path(*parts[: depth + 2])).is_dir()
            | (ROOT / Path(*parts[: depth + 2]).with_suffix(".py")).is_file()
        ):
            places.setdefault(room, {}).setdefault(place, set()).add(target)
    assert places
    for room, imported in places.items():
        while free := {name for name, targets in imported.items() if not targets & set(imported)}:
            imported = {name: ts - free for name, ts in imported.items() if name not in free}
        assert not imported, room
