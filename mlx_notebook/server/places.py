"""Where models lie on this machine: in the package, in configured folders, in the hub's cache.

Everything here comes from listing folders; a name that a client sent is never joined to a path.
Cache layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.models import ModelSource

_EMBEDDED = Path(__file__).parents[1] / "demo_models"
_ADAPTER = ("adapters.safetensors", "adapter_config.json")


class Place(Struct, frozen=True):
    """A folder that may hold a model, and the name that it has by its place.

    `expected` are the weights that a download which was broken off was to bring.
    """

    name: str
    path: Path
    source: ModelSource
    expected: frozenset[str] = frozenset()


def places(
    folders: Sequence[Path], revision: Callable[[str], str | None] = lambda name: None
) -> Iterator[Place]:
    """Yield where models may lie; of places with the same name the first one counts.

    `revision` tells which revision of a model in the cache is meant, where it is not `main`.
    """
    for child in _children(_EMBEDDED):
        yield Place(child.name, child, "embedded")
    for name, path in _named(folders):
        yield Place(name, path, "folder")
    for repository in _children(hub_cache()):
        kind, _, rest = repository.name.partition("--")
        if kind != "models" or not rest:
            continue
        name = rest.replace("--", "/", 1)
        if (snapshot := _snapshot(repository, revision(name))) is not None:
            yield Place(name, snapshot, "cache", _listed(repository, snapshot.name))


def adapters(folders: Sequence[Path]) -> dict[str, tuple[Path, str | None]]:
    """Return the folders of LoRA adapters below configured folders, and the models they are for.

    The latter is what mlx-lm noted when it trained them: a name, or a path that tells us nothing.
    """
    found: dict[str, tuple[Path, str | None]] = {}
    for name, path in _named(folders):
        if name in found or not all((path / file).is_file() for file in _ADAPTER):
            continue
        try:
            base = msgspec.json.decode((path / _ADAPTER[1]).read_bytes())["model"]
        except (OSError, ValueError, KeyError, TypeError):
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


def _named(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the folders `name/` and `publisher/name/` (LM Studio's layout) below some folders.

    A link that leads out of its configured folder is passed over.
    """
    for folder in folders:
        root = folder.resolve()
        for child in _children(folder):
            if not child.resolve().is_relative_to(root):
                continue
            if (child / "config.json").is_file() or (child / _ADAPTER[1]).is_file():
                yield child.name, child
                continue
            for model in _children(child):
                if model.resolve().is_relative_to(root):
                    yield f"{child.name}/{model.name}", model


def _snapshot(repository: Path, revision: str | None) -> Path | None:
    """Return the folder of a revision that is here, else of `main`, else of the newest one."""
    snapshots = {path.name: path for path in _children(repository / "snapshots")}
    for wanted in (revision, "main"):
        if wanted in snapshots:
            return snapshots[wanted]
        if wanted and (commit := _commit(repository / "refs", wanted)) in snapshots:
            return snapshots[commit]
    return max(snapshots.values(), key=lambda path: path.stat().st_mtime, default=None)


def _commit(refs: Path, name: str) -> str:
    """Return the commit that a branch or tag stands for, "" where it does not."""
    file = refs / name
    try:
        inside = file.resolve().is_relative_to(refs.resolve())
        return file.read_text().strip() if inside else ""
    except OSError:
        return ""  # a revision other than this one was downloaded


def _listed(repository: Path, commit: str) -> frozenset[str]:
    """Return the weights that the hub lists for a commit, as huggingface_hub has noted them."""
    try:
        noted = msgspec.json.decode((repository / "trees" / f"{commit}.json").read_bytes())
        files = frozenset(noted["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
    return frozenset(
        file
        for file in files
        if isinstance(file, str) and file.startswith("model") and file.endswith(".safetensors")
    )


def _children(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones aside; none where it cannot be read."""
    try:
        return sorted(
            child for child in folder.iterdir() if child.is_dir() and child.name[0] not in "._"
        )
    except OSError:
        return []
