"""What a model's files tell of it without loading it: size, memory, context, what it can do.

Several files of weights have an index, `model.safetensors.index.json`.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook import architectures
from mlx_notebook.embedding_files import embeds, longest_input
from mlx_notebook.footprint import (
    Array,
    Kept,
    Weights,
    kept,
    pooling_files,
    read_arrays,
    weight_files,
)
from mlx_notebook.generation_config import read_choices

# config.json holds a few kilobytes; a list of thousands of labels may be larger.
_LARGEST_CONFIG = 4 * 1024 * 1024
_INDEX = "model.safetensors.index.json"
_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"enable_thinking|<think>|reasoning_effort|<\|channel\|?>")


class Facts(Struct, frozen=True):
    """What a model's folder says. Sizes are bytes, `context_window` tokens.

    `choices` are its authors' sampling settings. `embeds` says that it makes vectors and writes
    nothing. `missing` names files that are still to come; `error` says why the model cannot be
    loaded, if that shows.
    """

    architecture: str
    capabilities: tuple[str, ...]
    quantization: str | None
    bytes_on_disk: int
    weights: Weights
    kept: Kept
    created: int
    choices: dict[str, float]
    runs_code: bool = False
    sees: bool = False
    embeds: bool = False
    missing: tuple[str, ...] = ()
    error: str | None = None

    @property
    def context_window(self) -> int | None:
        """The most tokens that it was made for."""
        return self.kept.context


class Unusable(Exception):
    """A folder's config.json cannot be used; the message says why."""


def read(folder: Path, name: str, *, expected: frozenset[str] = frozenset()) -> Facts | None:
    """Read a model's folder; None where it holds no language model.

    `expected` are the names of the files that the folder will hold when its download is over.

    Raises:
        Unusable: Its config.json is no configuration.
    """
    file = folder / "config.json"
    if not file.is_file():
        return None
    config = _config(file)
    only_embeds = embeds(name, folder, config)
    writes = architectures.writes(config)
    if not (only_embeds or writes or architectures.sees(config, None)):
        return None
    shards, missing = _shards(folder)
    missing |= {file for file in expected if not (folder / file).is_file()}
    if not shards and not missing:
        return None
    error = None
    if only_embeds:
        shards += pooling_files(folder)
    elif (folder / "modules.json").is_file():
        error = f"no embedding model of the kind {config['model_type']} can be run"
    arrays: list[Array] | None = None
    try:
        arrays = read_arrays(shards)
    except ValueError as wrong:
        error = str(wrong)
    names = None if missing or arrays is None else [array.name for array in arrays]
    choices: dict[str, float] = {}
    try:
        choices = {} if only_embeds else read_choices(folder)
    except (OSError, ValueError) as wrong:
        error = error or str(wrong)
    sees = architectures.sees(config, names)
    if not (only_embeds or writes or sees):
        return None
    keeps = Kept(context=longest_input(folder, config)) if only_embeds else kept(config)
    return Facts(
        architecture=str(config["model_type"]),
        capabilities=("embeddings",) if only_embeds else _capabilities(folder, sees=sees),
        quantization=_quantization(config),
        bytes_on_disk=sum(child.stat().st_size for child in folder.iterdir() if child.is_file()),
        weights=Weights.of(arrays or ()),
        kept=keeps,
        created=int(file.stat().st_mtime),
        choices=choices,
        runs_code=bool(config.get("model_file") or config.get("auto_map")),
        sees=sees,
        embeds=only_embeds,
        missing=tuple(sorted(missing)),
        error=None if missing else error,
    )


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file of the folder does."""
    marks = []
    for child in folder.iterdir():
        try:
            status = child.stat()
        except FileNotFoundError:  # a link of the cache to a blob that was taken away
            status = child.lstat()
        marks.append((child.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(marks))


def _config(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_CONFIG:
            raise Unusable("it is too large")
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error


def _shards(folder: Path) -> tuple[list[Path], set[str]]:
    """Return the files of weights there are, and the names of those that an index misses."""
    found = weight_files(folder)
    there = [path for path in found if path.is_file()]
    gone = {path.name for path in found} - {path.name for path in there}
    try:
        index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=dict[str, Any])
        named = {str(value) for value in dict(index["weight_map"]).values()}
    except (OSError, ValueError, KeyError, TypeError):
        return there, gone
    return there, gone | named - {path.name for path in there}


def _capabilities(folder: Path, *, sees: bool) -> tuple[str, ...]:
    template = _chat_template(folder)
    found = {
        "chat": bool(template),
        "vision": sees,
        "tools": bool(_TOOLS.search(template)),
        "reasoning": bool(_THINKING.search(template)),
    }
    return tuple(capability for capability, there in found.items() if there)


def _chat_template(folder: Path) -> str:
    """Return the text of all chat templates of a model, "" where it has none."""
    texts = [file.read_text(errors="replace") for file in sorted(folder.glob("*.jinja"))]
    for name in ("chat_template.json", "tokenizer_config.json", "processor_config.json"):
        try:
            file = folder / name
            if file.stat().st_size > _LARGEST_CONFIG:
                continue
            template = json.loads(file.read_bytes()).get("chat_template")
        except (OSError, ValueError, AttributeError):
            continue
        if template:
            texts.append(template if isinstance(template, str) else json.dumps(template))
    return "\n".join(texts)


def _quantization(config: dict[str, Any]) -> str | None:
    settings = config.get("quantization") or config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    if isinstance(bits := settings.get("bits"), int):
        mode = settings.get("mode")
        return f"{bits}-bit" if mode in (None, "affine") else f"{bits}-bit {mode}"
    method = settings.get("quant_method")
    return str(method) if method else None
