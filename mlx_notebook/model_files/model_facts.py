"""Facts about a model from its files: architecture, size, context length, capabilities.

Weights in several files have an index, `model.safetensors.index.json`.
"""

import os
import re
from logging import Logger
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_notebook.model_files import architectures
from mlx_notebook.model_files.audio_files import audio_capabilities, is_speaker, is_transcriber
from mlx_notebook.model_files.embedding_files import (
    embeds_images,
    is_embedding_model,
    max_input_tokens,
)
from mlx_notebook.model_files.fim_forms import form_in_folder
from mlx_notebook.model_files.footprint import KVCacheSize, WeightBytes, kv_cache_size
from mlx_notebook.model_files.generation_config import read_sampling_defaults
from mlx_notebook.model_files.model_folder import check, read_bytes, read_json, shown
from mlx_notebook.model_files.reranker_files import RerankerKind, reranker_kind
from mlx_notebook.model_files.safetensors_headers import (
    ArrayInfo,
    pooling_files,
    read_arrays,
    weight_files,
)

# The size of a large vocabulary.
_LARGEST_TOKENIZER = 32 * 2**20
_BITS = re.compile(r"(\d+)-bit")
_INDEX = "model.safetensors.index.json"
_TOOLS = re.compile(r"\btools\b")
_REASONING = re.compile(r"enable_thinking|<think>|reasoning_effort|<\|channel\|?>")


class ModelFacts(Struct, frozen=True):
    """Facts about a model, from its folder. Sizes are in bytes, `context_window` in tokens.

    Attributes
    ----------
    sampling_defaults
        The sampling parameters in its `generation_config.json`.
    has_code
        Whether loading it would run Python code from its folder.
    vision, video, hears
        Whether it takes images, whether it takes a video as one, and whether it takes sound.
    is_embedding_model
        Whether it makes embeddings and generates no text.
    is_audio_model
        Whether it works on sound, and answers no chats.
    reranker
        How it ranks documents; None if it is not made for that. If it is, it generates no text.
    missing
        Names of files that are not downloaded yet.
    error
        Why the model cannot be loaded. None if nothing is wrong with its files.
    counted_parameters
        The number of parameters, 0 if its files do not say.
    """

    architecture: str | None
    capabilities: tuple[str, ...]
    quantization: str | None
    bytes_on_disk: int
    weights: WeightBytes
    kv_cache: KVCacheSize
    created: int
    sampling_defaults: dict[str, float]
    has_code: bool = False
    vision: bool = False
    video: bool = False
    hears: bool = False
    is_embedding_model: bool = False
    is_audio_model: bool = False
    reranker: RerankerKind | None = None
    missing: tuple[str, ...] = ()
    error: str | None = None
    counted_parameters: int = 0

    @property
    def context_window(self) -> int | None:
        """Context length in tokens. None if its files do not say."""
        return self.kv_cache.context

    @property
    def parameters(self) -> int:
        """The number of parameters, or an estimate from the size of the weights."""
        if self.counted_parameters:
            return self.counted_parameters
        bits = _BITS.match(self.quantization or "")
        if bits:  # and half a bit for the scales of the groups
            return int(8 * self.weights.total / (int(bits[1]) + 0.5))
        rest = self.weights.total - self.weights.float16 - self.weights.float8
        return self.weights.float16 // 2 + self.weights.float8 + rest // 4


def read(
    folder: Path, name: str, log: Logger, *, expected: frozenset[str] = frozenset()
) -> ModelFacts | None:
    """Read a model's folder. Return None if it holds no language model.

    A file that is not valid becomes the `error` of the facts. Unexpected exceptions are logged.

    Parameters
    ----------
    folder, name
        The model's folder and name.
    log
        Log for unexpected exceptions.
    expected
        Names of the files that the folder holds once its download is complete.

    Raises
    ------
    OSError
        If a file cannot be read. A later attempt may succeed.
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
    """Return the facts of a model whose files cannot be read."""
    return ModelFacts(
        architecture=None,
        capabilities=(),
        quantization=None,
        bytes_on_disk=0,
        weights=WeightBytes(),
        kv_cache=KVCacheSize(),
        created=0,
        sampling_defaults={},
        error=error,
    )


def _read(folder: Path, name: str, expected: frozenset[str]) -> ModelFacts | None:
    file = folder / "config.json"
    config = read_json(file, type=dict[str, Any])
    embeds = is_embedding_model(name, folder, config)
    of_sound = is_transcriber(config) or is_speaker(config)
    reranker = None if embeds or of_sound else reranker_kind(name, folder, config)
    generates = architectures.is_text_model(config) and not of_sound
    special = bool(of_sound or embeds or reranker)
    if not (special or generates or architectures.is_vision_model(config, None)):
        return None
    shards, missing = _shards(folder)
    missing |= {file for file in expected if not (folder / file).is_file()}
    if not shards and not missing:
        return None
    error = None
    if embeds or reranker == "cross-encoder":
        shards += pooling_files(folder)
    elif reranker is None and (folder / "modules.json").is_file():
        error = f"no embedding model of the kind {config['model_type']} can be run"
    arrays: list[ArrayInfo] | None = None
    try:
        arrays = read_arrays(shards)
    except ValueError as wrong:
        error = str(wrong)
    names = None if missing or arrays is None else [array.name for array in arrays]
    defaults: dict[str, float] = {}
    try:
        defaults = {} if special else read_sampling_defaults(folder)
    except (OSError, ValueError) as wrong:
        error = error or sentence(wrong)
    vision = not special and architectures.is_vision_model(config, names)
    if not (special or generates or vision):
        return None
    hears = vision and architectures.hears(config, names)
    if embeds or reranker == "cross-encoder":
        kv_cache = KVCacheSize(context=max_input_tokens(folder, config))
    else:
        kv_cache = kv_cache_size(config)
    return ModelFacts(
        architecture=str(config["model_type"]),
        capabilities=(
            audio_capabilities(config)
            if of_sound
            else _special_capabilities(embeds, reranker, embeds and embeds_images(name, config))
            or _capabilities(folder, vision=vision, hears=hears)
        ),
        quantization=_quantization(config),
        bytes_on_disk=sum(child.stat().st_size for child in folder.iterdir() if child.is_file()),
        weights=WeightBytes.of(arrays or ()),
        kv_cache=kv_cache,
        created=int(file.stat().st_mtime),
        sampling_defaults=defaults,
        has_code=bool(config.get("model_file") or config.get("auto_map")),
        vision=vision,
        video=vision and architectures.takes_video(config),
        hears=hears,
        is_embedding_model=embeds,
        is_audio_model=of_sound,
        reranker=reranker,
        missing=tuple(sorted(missing)),
        error=None if missing else error,
    )


def _special_capabilities(
    embeds: bool, reranker: RerankerKind | None, images: bool
) -> tuple[str, ...]:
    """Return what a model can do that generates no text; nothing for any other.

    `images` says whether it also embeds images.
    """
    if embeds:
        return ("embeddings", "image-embeddings") if images else ("embeddings",)
    return ("rerank",) if reranker is not None else ()


def sentence(error: Exception) -> str:
    """Return an error as a sentence, without the path that the system's errors name."""
    if isinstance(error, OSError) and error.filename:
        return f"{shown(os.path.basename(error.filename))} cannot be read ({error.strerror})"
    return str(error)


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return a value that changes when a file of the folder changes, or the file at this path."""
    marks = []
    for child in folder.iterdir() if folder.is_dir() else (folder,):
        try:
            status = child.stat()
        except OSError:  # a broken or circular link
            status = child.lstat()
        marks.append((child.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(marks))


class _Index(Struct):
    """The index of weights: array -> file."""

    weight_map: dict[str, str]


def _shards(folder: Path) -> tuple[list[Path], set[str]]:
    """Return the files of weights that exist, and the names of those that are missing."""
    found = weight_files(folder)
    there = [path for path in found if path.is_file()]
    gone = {path.name for path in found} - {path.name for path in there}
    try:
        index = read_json(folder / _INDEX, _LARGEST_TOKENIZER, _Index)
    except (OSError, ValueError):
        return there, gone
    return there, gone | set(index.weight_map.values()) - {path.name for path in there}


def _capabilities(folder: Path, *, vision: bool, hears: bool) -> tuple[str, ...]:
    fim = form_in_folder(folder) is not None
    return template_capabilities(_chat_template(folder), fim=fim, vision=vision, hears=hears)


def template_capabilities(
    template: str, *, fim: bool, vision: bool, hears: bool = False
) -> tuple[str, ...]:
    """Return the capabilities of a model that generates text, from its chat template.

    `fim`, `vision` and `hears` say what its other files have shown.
    """
    found = {
        "chat": bool(template),
        "fim": fim,
        "vision": vision,
        "audio": hears,
        "tools": bool(_TOOLS.search(template)),
        "reasoning": bool(_REASONING.search(template)),
    }
    return tuple(capability for capability, there in found.items() if there)


class _Template(Struct):
    """The chat template in a JSON file, or several by name."""

    chat_template: Any = None


def _chat_template(folder: Path) -> str:
    """Return the text of all chat templates of a model, "" if it has none.

    Raises
    ------
    ValueError
        If a template is too large.
    OSError
        If a template cannot be read.
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
