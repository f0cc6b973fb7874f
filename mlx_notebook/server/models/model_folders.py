"""Where models lie on this machine: in the package, in configured folders, in the hub's cache.

Everything here comes from listing folders; a name that a client sent is never joined to a path.
Cache layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_notebook.model_files.model_folder import read_bytes, read_json, shown
from mlx_notebook.server.wire.native.model_types import ModelSource

_EMBEDDED = Path(__file__).parents[2] / "demo_models"
_ADAPTER = ("adapters.safetensors", "adapter_config.json")
_LONGEST_REF = 1024


class ModelLocation(Struct, frozen=True):
    """A folder that may hold a model, and the name that it has by its place.

    `expected` are the weights that a download which was broken off was to bring; `fault` says why
    nothing in the folder is looked at.
    """

    name: str
    path: Path
    source: ModelSource
    expected: frozenset[str] = frozenset()
    fault: str | None = None


class _AdapterConfig(Struct):
    """What mlx-lm notes beside an adapter: the model that it was trained on."""

    model: Any = None


class _Tree(Struct):
    """What huggingface_hub notes of a commit: its files, by their names."""

    files: dict[str, Any]


def find_locations(
    folders: Sequence[Path], revision: Callable[[str], str | None] = lambda name: None
) -> Iterator[ModelLocation]:
    """Yield where models may lie; of places with the same name the first one counts.

    `revision` tells which revision of a model in the cache is meant, where it is not `main`.
    """
    for child in _children(_EMBEDDED):
        yield ModelLocation(child.name, child, "embedded")
    for name, path, fault in _named(folders):
        yield ModelLocation(name, path, "folder", fault=fault)
    for repository in _children(hub_cache()):
        kind, _, rest = repository.name.partition("--")
        if kind != "models" or not rest:
            continue
        name = shown(rest.replace("--", "/", 1))
        if (snapshot := _snapshot(repository, revision(name))) is not None:
            expected = _listed(repository, snapshot.name)
            yield ModelLocation(name, snapshot, "cache", expected, _unnameable(repository))


def adapters(folders: Sequence[Path]) -> dict[str, tuple[Path, str | None]]:
    """Return the folders of LoRA adapters below configured folders, and the models they are for.

    The latter is what mlx-lm noted when it trained them: a name, or a path that tells us nothing.
    """
    found: dict[str, tuple[Path, str | None]] = {}
    for name, path, fault in _named(folders):
        if fault or name in found or not all(os.path.isfile(path / file) for file in _ADAPTER):
            continue
        try:
            base = read_json(path / _ADAPTER[1], type=_AdapterConfig).model
        except (OSError, ValueError):
            base = None
        found[name] = path, base if isinstance(base, str) else None
    return found


def hub_cache() -> Path:
    """Return the Hugging Face cache of models, as its own environment variables place it."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    return Path(home).expanduser() / "hub"


def _named(folders: Sequence[Path]) -> Iterator[tuple[str, Path, str | None]]:
    """Yield the folders `name/` and `publisher/name/` (LM Studio's layout) below some folders.

    The third value is why a folder must not be looked at, None where it may be.
    """
    for folder in folders:
        for child in _children(folder, dangling=True):
            name, fault = shown(child.name), _fault(child, folder)
            if (
                fault
                or os.path.lexists(child / "config.json")
                or os.path.isfile(child / _ADAPTER[1])
            ):
                yield name, child, fault
                continue
            for model in _children(child, dangling=True):
                yield f"{name}/{shown(model.name)}", model, _fault(model, folder)


def _fault(path: Path, root: Path) -> str | None:
    """Return why a folder below the configured folder `root` must not be looked at, if so.

    A link out of `root` is followed where the owner of `root` made it, or the user of this server:
    anyone else who may write there could have other people's files read.
    """
    if (fault := _unnameable(path)) is not None or not path.is_symlink():
        return fault
    if not os.path.exists(path):
        return "its link leads nowhere, or to where this server may not look"
    if path.resolve().is_relative_to(root.resolve()):
        return None
    if path.lstat().st_uid in (root.stat().st_uid, os.geteuid()):
        return None
    return (
        "its link leads out of MlxNotebookApp.models_dirs, and was made neither by the owner of "
        "that folder nor by the user of this server"
    )


def _unnameable(path: Path) -> str | None:
    """Return what is wrong with a folder's name, if requests could not say it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its folder's name is not UTF-8, rename it"
    return None


def _snapshot(repository: Path, revision: str | None) -> Path | None:
    """Return the folder of a revision that is here, else of `main`, else of the newest one."""
    snapshots = {path.name: path for path in _children(repository / "snapshots")}
    for wanted in (revision, "main"):
        if wanted in snapshots:
            return snapshots[wanted]
        if wanted and (commit := _commit(repository / "refs", wanted)) in snapshots:
            return snapshots[commit]
    return max(snapshots.values(), key=lambda path: path.lstat().st_mtime, default=None)


def _commit(refs: Path, name: str) -> str:
    """Return the commit that a branch or tag stands for, "" where it does not."""
    file = refs / name
    try:
        inside = file.resolve().is_relative_to(refs.resolve())
        return read_bytes(file, _LONGEST_REF).decode().strip() if inside else ""
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links that form a ring
        return ""  # a revision other than this one was downloaded


def _listed(repository: Path, commit: str) -> frozenset[str]:
    """Return the weights that the hub lists for a commit, as huggingface_hub has noted them."""
    try:
        noted = read_json(repository / "trees" / f"{commit}.json", type=_Tree)
    except (OSError, ValueError):
        return frozenset()
    return frozenset(
        file for file in noted.files if file.startswith("model") and file.endswith(".safetensors")
    )


def _children(folder: Path, *, dangling: bool = False) -> list[Path]:
    """Return the folders in a folder, hidden ones aside; none where it cannot be read.

    `dangling` adds links that lead nowhere.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] not in "._")
    except OSError:
        return []
    children = [folder / name for name in names]
    return [
        child
        for child in children
        if os.path.isdir(child) or (dangling and child.is_symlink() and not os.path.exists(child))
    ]
