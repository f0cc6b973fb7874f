"""What a model's files tell of it without loading it: size, memory, context, what it can do.

Several files of weights have an index, `model.safetensors.index.json`.
"""

import os
import re
from logging import Logger
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_notebook.model_files import architectures
from mlx_notebook.model_files.embedding_files import embeds, longest_input
from mlx_notebook.model_files.footprint import (
    Array,
    Kept,
    Weights,
    kept,
    pooling_files,
    read_arrays,
    weight_files,
)
from mlx_notebook.model_files.generation_config import read_choices
from mlx_notebook.model_files.model_folder import check, read_bytes, read_json, shown

# The files of large vocabularies.
_LARGEST_TOKENIZER = 32 * 2**20
_INDEX = "model.safetensors.index.json"
_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"enable_thinking|<think>|reasoning_effort|<\|channel\|?>")


class ModelFacts(Struct, frozen=True):
    """What a model's folder says. Sizes are bytes, `context_window` tokens.

    `choices` are its authors' sampling settings. `embeds` says that it makes vectors and writes
    nothing. `missing` names files that are still to come; `error` says why the model cannot be
    loaded, if that shows.
    """

    architecture: str | None
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


def read(
    folder: Path, name: str, log: Logger, *, expected: frozenset[str] = frozenset()
) -> ModelFacts | None:
    """Read a model's folder; None where it holds no language model.

    What goes wrong with one folder is its own: it is told in `error`, and in `log` where it is a
    surprise. `expected` are the names of the files that the folder will hold when its download is
    over.

    Raises:
        OSError: Something cannot be read now; it may be possible later.
    """
    if not os.path.lexists(folder / "config.json"):
        return None
    try:
        check(folder)
        return _read(folder, name, expected)
    except RecursionError:
        return unusable("a file of its folder is nested too deeply")
    except OSError:
        raise
    except ValueError as error:
        return unusable(str(error))
    except Exception as error:
        log.exception("The files of the model %r could not be read.", name)
        return unusable(f"its files could not be read ({type(error).__name__})")


def unusable(error: str) -> ModelFacts:
    """Return what is known of a model whose files cannot be read."""
    return ModelFacts(
        architecture=None,
        capabilities=(),
        quantization=None,
        bytes_on_disk=0,
        weights=Weights(),
        kept=Kept(),
        created=0,
        choices={},
        error=error,
    )


def _read(folder: Path, name: str, expected: frozenset[str]) -> ModelFacts | None:
    file = folder / "config.json"
    config = read_json(file, type=dict[str, Any])
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
        error = error or sentence(wrong)
    sees = architectures.sees(config, names)
    if not (only_embeds or writes or sees):
        return None
    keeps = Kept(context=longest_input(folder, config)) if only_embeds else kept(config)
    return ModelFacts(
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


def sentence(error: Exception) -> str:
    """Return why a file cannot be used, without the whole path that the system's errors name."""
    if isinstance(error, OSError) and error.filename:
        return f"{shown(os.path.basename(error.filename))} cannot be read ({error.strerror})"
    return str(error)


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file of the folder does."""
    marks = []
    for child in folder.iterdir():
        try:
            status = child.stat()
        except OSError:  # a link of the cache to a blob that was taken away, a ring of links
            status = child.lstat()
        marks.append((child.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(marks))


class _Index(Struct):
    """Which file holds which array."""

    weight_map: dict[str, str]


def _shards(folder: Path) -> tuple[list[Path], set[str]]:
    """Return the files of weights there are, and the names of those that an index misses."""
    found = weight_files(folder)
    there = [path for path in found if path.is_file()]
    gone = {path.name for path in found} - {path.name for path in there}
    try:
        index = read_json(folder / _INDEX, _LARGEST_TOKENIZER, _Index)
    except (OSError, ValueError):
        return there, gone
    return there, gone | set(index.weight_map.values()) - {path.name for path in there}


def _capabilities(folder: Path, *, sees: bool) -> tuple[str, ...]:
    template = _chat_template(folder)
    found = {
        "chat": bool(template),
        "vision": sees,
        "tools": bool(_TOOLS.search(template)),
        "reasoning": bool(_THINKING.search(template)),
    }
    return tuple(capability for capability, there in found.items() if there)


class _Template(Struct):
    """Where files of settings keep a chat template, or several by name."""

    chat_template: Any = None


def _chat_template(folder: Path) -> str:
    """Return the text of all chat templates of a model, "" where it has none.

    Raises:
        ValueError: One is too large.
        OSError: One cannot be read.
    """
    files = sorted(folder.glob("*.jinja"))
    texts = [read_bytes(file).decode(errors="replace") for file in files]
    for name in ("chat_template.json", "tokenizer_config.json", "processor_config.json"):
        try:
            template = read_json(folder / name, _LARGEST_TOKENIZER, _Template).chat_template
        except (OSError, ValueError):
            continue
        if template:
            texts.append(template if isinstance(template, str) else str(template))
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
