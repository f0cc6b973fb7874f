"""Every model that can be named: embedded ones, those in configured folders, the hub's cache.

A name is looked up in what the scan found and never joined to a path. Cache layout:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from logging import Logger
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook.messages import ModelOptions
from mlx_notebook.server.errors import NotFound, model_not_found
from mlx_notebook.server.wire.models import ModelSource

EMBEDDED_DEFAULT = "tiny-chat"
_EMBEDDED = Path(__file__).parents[1] / "demo_models"
_FRESH_SECONDS = 5.0
# config.json holds a few kilobytes; a list of thousands of labels may be larger.
_LARGEST_CONFIG = 4 * 1024 * 1024
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# Model types that mlx-vlm keeps under another name (its `MODEL_REMAPPING`), hyphens aside.
_VISION_TYPES = {
    "bunny_llama": "llava_bunny",
    "cohere2_vision": "aya_vision",
    "jvlm": "jina_vlm",
    "llava_qwen2": "fastvlm",
    "moondream1": "moondream2",
}


class Entry(Struct, frozen=True):
    """A model on this machine. `context_window` is in tokens, `created` Unix seconds.

    `sees` tells whether it takes pictures.
    """

    name: str
    path: Path
    source: ModelSource
    context_window: int | None
    created: int
    runs_code: bool = False
    sees: bool = False
    options: ModelOptions = ModelOptions()


class Catalog:
    """Knows the models by name.

    Args:
        folders: Folders that hold models, as `name/` or `organisation/name/`.
        aliases: Other names for models.
        default: The model for requests that name none.
        trusted: Names of models whose own Python code may run.
        unknown: What a name that is not there means: "error", or "loaded" for the model last used.
        last_used: Tells the name of the model that last took a request, if one has.
        log: Told of models that are left out.
    """

    def __init__(
        self,
        *,
        folders: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        default: str = "",
        trusted: Sequence[str] = (),
        unknown: str = "error",
        last_used: Callable[[], str | None] = lambda: None,
        log: Logger,
    ) -> None:
        self._folders = [Path(folder).expanduser().absolute() for folder in folders]
        self._aliases = dict(aliases or {})
        self._configured_default = default
        self._trusted = frozenset(trusted)
        self._unknown = unknown
        self._log = log
        self._entries: dict[str, Entry] = {}
        self._scanned = float("-inf")
        self._last_used = last_used
        self._complained: set[Path] = set()

    async def find(self, name: str | None) -> Entry:
        """Return the model of that name or alias, or the default one.

        Raises:
            NotFound: There is none; the message lists what there is.
        """
        wanted = self._aliases.get(name, name) if name else await self.default()
        entry = self._entries.get(wanted)
        if entry is None or not (entry.path / "config.json").exists():
            await self._scan()
            entry = self._entries.get(wanted)
        if entry is None and self._unknown == "loaded":
            entry = self._entries.get(self._last_used() or "")
        if entry is None:
            raise model_not_found(wanted, self.names)
        if entry.runs_code and entry.name not in self._trusted:
            raise NotFound(
                f"The model {entry.name!r} comes with Python code of its own, which is not run "
                "unless its name is in MlxNotebookApp.trusted_models.",
                param="model",
                code="model_not_trusted",
            )
        return entry

    async def entries(self) -> list[Entry]:
        """Return all models that may be used, the default one first, the others by name."""
        if time.monotonic() - self._scanned > _FRESH_SECONDS:
            await self._scan()
        default = await self.default()
        usable = [e for e in self._entries.values() if not e.runs_code or e.name in self._trusted]
        return sorted(usable, key=lambda entry: (entry.name != default, entry.name))

    async def default(self) -> str:
        """Return the name of the default model: configured, last used, embedded, or any."""
        if self._scanned == float("-inf"):
            await self._scan()
        candidates = (
            self._aliases.get(self._configured_default, self._configured_default),
            self._last_used(),
            EMBEDDED_DEFAULT,
        )
        found = next((name for name in candidates if name and name in self._entries), None)
        return found or self._configured_default or next(iter(self.names), EMBEDDED_DEFAULT)

    @property
    def default_now(self) -> str | None:
        """The default model as far as is known without looking at the disk."""
        candidates = (self._configured_default, self._last_used(), EMBEDDED_DEFAULT)
        return next((name for name in candidates if name), None)

    @property
    def names(self) -> list[str]:
        """All names and aliases."""
        aliases = [alias for alias, name in self._aliases.items() if name in self._entries]
        return sorted([*self._entries, *aliases])

    async def _scan(self) -> None:
        # Folders may lie on a network: look from a thread. One of asyncio's: anyio's keep a server
        # alive that is stopped in the middle of its first request.
        self._entries = await asyncio.to_thread(self._found)
        self._scanned = time.monotonic()

    def _found(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name, path, source in self._places():
            if name not in entries and (entry := self._entry(name, path, source)) is not None:
                entries[name] = entry
        return entries

    def _places(self) -> Iterator[tuple[str, Path, ModelSource]]:
        for child in _children(_EMBEDDED):
            yield child.name, child, "embedded"
        for folder in self._folders:
            for child in _children(folder):
                if (child / "config.json").is_file():
                    yield child.name, child, "folder"
                    continue
                for model in _children(child):
                    yield f"{child.name}/{model.name}", model, "folder"
        for repository in _children(hub_cache()):
            kind, _, rest = repository.name.partition("--")
            if kind == "models" and rest and (snapshot := _snapshot(repository)) is not None:
                yield rest.replace("--", "/", 1), snapshot, "cache"

    def _entry(self, name: str, path: Path, source: ModelSource) -> Entry | None:
        file = path / "config.json"
        if not file.is_file() or not any(path.glob("*.safetensors")):
            return None
        try:
            if file.stat().st_size > _LARGEST_CONFIG:
                raise ValueError("it is too large")
            config = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
            created = int(file.stat().st_mtime)
        except (OSError, ValueError) as error:
            if file not in self._complained:
                self._complained.add(file)
                self._log.warning("%s is left out: its config.json is unusable: %s", name, error)
            return None
        sees = _sees(config)
        if not sees and not _writes_text(config):
            return None
        return Entry(
            name,
            path,
            source,
            _context_window(config),
            created,
            runs_code=bool(config.get("model_file") or config.get("auto_map")),
            sees=sees,
            options=ModelOptions(trust_remote_code=name in self._trusted),
        )


def hub_cache() -> Path:
    """Return the Hugging Face cache of models, as its own environment variables place it."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    return Path(home).expanduser() / "hub"


def _snapshot(repository: Path) -> Path | None:
    """Return the folder of the revision that `main` names, else of the newest one."""
    try:
        revision = (repository / "refs" / "main").read_text().strip()
        snapshot = repository / "snapshots" / revision
        if revision and os.sep not in revision and snapshot.is_dir():
            return snapshot
    except OSError:
        # A revision other than main was downloaded.
        revision = ""
    snapshots = _children(repository / "snapshots")
    return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)


def _children(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones aside; none where it cannot be read."""
    try:
        return sorted(
            child for child in folder.iterdir() if child.is_dir() and child.name[0] not in "._"
        )
    except OSError:
        return []


def _writes_text(config: dict[str, Any]) -> bool:
    """Whether a config.json describes a language model (and not, say, an encoder or a picture)."""
    if not isinstance(config.get("model_type"), str):
        return False
    if "vision_config" in config or "audio_config" in config:
        return False
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        return True
    endings = ("ForCausalLM", "LMHeadModel", "CausalLM")
    return any(isinstance(name, str) and name.endswith(endings) for name in architectures)


def _sees(config: dict[str, Any]) -> bool:
    """Whether a config.json describes a model of mlx-vlm's that writes text about pictures."""
    kind, vision = config.get("model_type"), config.get("vision_config")
    if not isinstance(kind, str) or not isinstance(vision, dict):
        return False
    kind = kind.replace("-", "_")
    if _VISION_TYPES.get(kind, kind) not in _mlx_vlm_models():
        return False
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        return True
    endings = ("ForConditionalGeneration", "ForCausalLM", "ChatModel")
    return any(isinstance(name, str) and name.endswith(endings) for name in architectures)


@cache
def _mlx_vlm_models() -> frozenset[str]:
    """Return the model types that mlx-vlm has code for, without importing it (two seconds)."""
    spec = find_spec("mlx_vlm")
    folders = [Path(place) / "models" for place in (spec and spec.submodule_search_locations) or ()]
    return frozenset(child.name for folder in folders for child in _children(folder))


def _context_window(config: dict[str, Any]) -> int | None:
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            for key in _CONTEXT_KEYS:
                if isinstance(part.get(key), int):
                    return int(part[key])
    return None
