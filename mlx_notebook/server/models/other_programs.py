"""Find the models that other programs have downloaded: LM Studio, Ollama and llama.cpp.

Ollama's store: https://github.com/ollama/ollama/blob/main/docs/faq.md, with a manifest for each
model, in the format of container registries. A manifest names files by their digests.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from mlx_notebook.model_files.model_folder import read_json, shown

PROGRAMS = ("lmstudio", "ollama", "llama.cpp")
"""Names of the programs whose models can be found."""

_MODEL = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_STORES = ["~/.ollama/models", "/usr/share/ollama/.ollama/models"]
_USUAL_HOST, _USUAL_OWNER = "registry.ollama.ai", "library"
# Folders of a manifest below `manifests`: host, owner, model; the file is the tag.
_DEPTH = 4
_LARGEST_MANIFEST = 2**20
_MOST_MANIFESTS = 10_000


class _Layer(Struct, rename="camel"):
    """Decode one file that a manifest names."""

    media_type: str = ""
    digest: str = ""


class _Manifest(Struct):
    """Decode a manifest of Ollama's store."""

    layers: list[_Layer]


def model_folders_of(programs: Sequence[str]) -> list[Path]:
    """Return the folders with models of other programs, laid out as configured folders are."""
    home, cache = Path("~").expanduser(), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folders = {
        "lmstudio": [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"],
        "llama.cpp": [
            Path(os.environ.get("LLAMA_CACHE") or os.path.join(cache, "llama.cpp")).expanduser(),
            home / "Library" / "Caches" / "llama.cpp",
        ],
    }
    return [folder for program in programs for folder in folders.get(program, [])]


def ollama_models(programs: Sequence[str]) -> Iterator[tuple[str, Path, str | None]]:
    """Yield the models in Ollama's stores: name, file, and why it must not be read (None: it may).

    The name is Ollama's, for example `qwen3:0.6b`.
    """
    if "ollama" not in programs:
        return
    configured = os.environ.get("OLLAMA_MODELS")
    for store in (Path(name).expanduser() for name in ([configured] if configured else _STORES)):
        for manifest, parts in _manifests(store / "manifests"):
            if (found := _model_of(manifest, store)) is not None:
                yield _name(parts), *found


def _manifests(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the manifests below a folder, each with the names of its folders and its own."""
    found = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        parts = Path(place).relative_to(folder).parts
        if len(parts) >= _DEPTH - 1:
            folders.clear()
        if len(parts) != _DEPTH - 1:
            continue
        for name in sorted(name for name in files if name[0] != "."):
            found += 1
            if found > _MOST_MANIFESTS:
                return
            yield Path(place, name), (*parts, name)


def _model_of(manifest: Path, store: Path) -> tuple[Path, str | None] | None:
    """Return the file of a manifest's model, and why it must not be read; None if it names none."""
    try:
        layers = read_json(manifest, _LARGEST_MANIFEST, _Manifest).layers
    except (OSError, ValueError):
        return None
    digest = next((layer.digest for layer in layers if layer.media_type == _MODEL), "")
    if not _DIGEST.fullmatch(digest):
        return None
    file = store / "blobs" / digest.replace(":", "-")
    if any(layer.media_type == _ADAPTER for layer in layers):
        return file, "it has an adapter of its own, and adapters in GGUF files are not read"
    try:
        status = os.lstat(file)
    except OSError:
        return None  # it is being downloaded
    return file, None if stat.S_ISREG(status.st_mode) else "its file is a link, or no regular file"


def _name(parts: tuple[str, ...]) -> str:
    """Return Ollama's name of a model, without the host and owner that it leaves out too."""
    host, owner, model, tag = map(shown, parts)
    if host != _USUAL_HOST:
        return f"{host}/{owner}/{model}:{tag}"
    return f"{model}:{tag}" if owner == _USUAL_OWNER else f"{owner}/{model}:{tag}"
