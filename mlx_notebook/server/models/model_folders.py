"""Find models on this machine: in the package, in configured folders, in the Hugging Face cache.

Paths come from listing folders only. A name that a client sent is never joined to a path.
Cache layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_notebook.model_files.model_folder import read_bytes, read_json, shown
from mlx_notebook.server.models.gguf_files import gguf_files, named_files, stem
from mlx_notebook.server.models.other_programs import model_folders_of, ollama_models
from mlx_notebook.server.wire.native.model_types import ModelSource

_EMBEDDED = Path(__file__).parents[2] / "demo_models"
_ADAPTER = ("adapters.safetensors", "adapter_config.json")
_LONGEST_REF = 1024


class ModelLocation(Struct, frozen=True):
    """Locate a folder that may contain a model, or a GGUF file.

    Attributes
    ----------
    name
        Name of the model, from the names of the folders.
    path
        The folder, or the GGUF file.
    source
        Kind of location.
    expected
        Weight files that an interrupted download still has to bring.
    fault
        Why it is not read, None if it is.
    """

    name: str
    path: Path
    source: ModelSource
    expected: frozenset[str] = frozenset()
    fault: str | None = None


class _AdapterConfig(Struct):
    """Decode what mlx-lm writes beside an adapter: the model that it was trained on."""

    model: Any = None


class _Tree(Struct):
    """Decode what huggingface_hub writes about a commit: its files by name."""

    files: dict[str, Any]


def find_locations(
    folders: Sequence[Path],
    revision: Callable[[str], str | None] = lambda name: None,
    programs: Sequence[str] = (),
) -> Iterator[ModelLocation]:
    """Yield the folders and GGUF files that may be models. The first usable one of a name counts.

    Parameters
    ----------
    folders
        Configured folders.
    revision
        Return the wanted revision of a model in the Hugging Face cache; None for `main`.
    programs
        Other programs whose models are found too, of `other_programs.PROGRAMS`.
    """
    for child in _children(_EMBEDDED):
        yield ModelLocation(child.name, child, "embedded")
    for folder in (*folders, *model_folders_of(programs)):
        for name, path, fault in _model_folders([folder]):
            yield ModelLocation(name, path, "folder", fault=fault)
        for name, path in _loose_files(folder):
            yield ModelLocation(name, path, "folder", fault=_fault(path, folder))
    for name, path, fault in ollama_models(programs):
        yield ModelLocation(name, path, "folder", fault=fault)
    for repository in _children(hub_cache()):
        kind, _, rest = repository.name.partition("--")
        if kind != "models" or not rest:
            continue
        name = shown(rest.replace("--", "/", 1))
        if (snapshot := _snapshot(repository, revision(name))) is not None:
            expected = _expected_files(repository, snapshot.name)
            fault = _name_fault(repository)
            yield ModelLocation(name, snapshot, "cache", expected, fault)
            for inner, file in named_files(name, snapshot):
                yield ModelLocation(inner, file, "cache", fault=fault)


def find_adapters(folders: Sequence[Path]) -> dict[str, tuple[Path, str | None]]:
    """Return the LoRA adapters in configured folders: their folders and base models, by name.

    The base model is what mlx-lm wrote at training: a name, or a path that says nothing here.
    """
    found: dict[str, tuple[Path, str | None]] = {}
    for name, path, fault in _model_folders(folders):
        if fault or name in found or not all(os.path.isfile(path / file) for file in _ADAPTER):
            continue
        try:
            base = read_json(path / _ADAPTER[1], type=_AdapterConfig).model
        except (OSError, ValueError):
            base = None
        found[name] = path, base if isinstance(base, str) else None
    return found


def hub_cache() -> Path:
    """Return the Hugging Face cache, according to the environment variables of Hugging Face."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    return Path(home).expanduser() / "hub"


def _model_folders(folders: Sequence[Path]) -> Iterator[tuple[str, Path, str | None]]:
    """Yield the folders `name/` and `organisation/name/` in the given folders.

    The third value says why a folder must not be read, None if it may be.
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


def _loose_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the GGUF files in a folder and in `name/` and `organisation/name/`, by name."""
    for file in gguf_files(folder):
        yield stem(file), file
    for child in _children(folder):
        if _fault(child, folder):
            continue
        name = shown(child.name)
        yield from named_files(name, child)
        if not os.path.lexists(child / "config.json"):
            for inner in _children(child):
                if not _fault(inner, folder):
                    yield from named_files(f"{name}/{shown(inner.name)}", inner)


def _fault(path: Path, root: Path) -> str | None:
    """Return why what is below the configured folder `root` must not be read, None if it may be.

    A link out of `root` is followed if the owner of `root` or the user of this server made it.
    Otherwise anyone who may write there could have other people's files read.
    """
    if (fault := _name_fault(path)) is not None or not path.is_symlink():
        return fault
    if not os.path.exists(path):
        return "its link leads nowhere, or to what this server may not read"
    if path.resolve().is_relative_to(root.resolve()):
        return None
    if path.lstat().st_uid in (root.stat().st_uid, os.geteuid()):
        return None
    return (
        "its link leads out of MlxNotebookApp.models_dirs, and was made neither by the owner of "
        "that folder nor by the user of this server"
    )


def _name_fault(path: Path) -> str | None:
    """Return what is wrong with the name of a folder, None if requests can contain it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its name on disk is not UTF-8, rename it"
    return None


def _snapshot(repository: Path, revision: str | None) -> Path | None:
    """Return the folder of a downloaded revision, else of `main`, else of the newest one."""
    snapshots = {path.name: path for path in _children(repository / "snapshots")}
    for wanted in (revision, "main"):
        if wanted in snapshots:
            return snapshots[wanted]
        if wanted and (commit := _commit(repository / "refs", wanted)) in snapshots:
            return snapshots[commit]
    return max(snapshots.values(), key=lambda path: path.lstat().st_mtime, default=None)


def _commit(refs: Path, name: str) -> str:
    """Return the commit of a branch or tag, "" if it is unknown."""
    file = refs / name
    try:
        inside = file.resolve().is_relative_to(refs.resolve())
        return read_bytes(file, _LONGEST_REF).decode().strip() if inside else ""
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
        return ""  # another revision was downloaded


def _expected_files(repository: Path, commit: str) -> frozenset[str]:
    """Return the weight files of a commit, as huggingface_hub has recorded them."""
    try:
        noted = read_json(repository / "trees" / f"{commit}.json", type=_Tree)
    except (OSError, ValueError):
        return frozenset()
    return frozenset(
        file for file in noted.files if file.startswith("model") and file.endswith(".safetensors")
    )


def _children(folder: Path, *, dangling: bool = False) -> list[Path]:
    """Return the folders in a folder without hidden ones; none if it cannot be read.

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
