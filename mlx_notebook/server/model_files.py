"""What a model's files tell of it without loading it: size, memory, context, what it can do.

Format of the weights: https://huggingface.co/docs/safetensors (a JSON header in front of the
data), several files of them with an index `model.safetensors.index.json`.
"""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook import architectures
from mlx_notebook.embedding_files import embeds, longest_input

# config.json holds a few kilobytes; a list of thousands of labels may be larger.
_LARGEST_CONFIG = 4 * 1024 * 1024
_LARGEST_HEADER = 100 * 1024 * 1024
_INDEX = "model.safetensors.index.json"
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"enable_thinking|<think>|reasoning_effort|<\|channel\|?>")
# Keys and values of so many tokens are part of what a model is said to need.
_TOKENS_KEPT = 4096


class Weights(Struct, frozen=True):
    """Bytes of a model's tensors: those of floating-point numbers below 32 bits, and all."""

    small_floats: int = 0
    total: int = 0


class Facts(Struct, frozen=True):
    """What a model's folder says. Sizes are bytes, `context_window` tokens.

    `embeds` says that it makes vectors and writes nothing.
    `kept` is what the keys and values of some thousand tokens take in 16 bits. `missing` names
    files that are still to come; `error` says why the model cannot be loaded, if that shows.
    """

    architecture: str
    context_window: int | None
    capabilities: tuple[str, ...]
    quantization: str | None
    bytes_on_disk: int
    weights: Weights
    kept: int
    created: int
    runs_code: bool = False
    sees: bool = False
    embeds: bool = False
    missing: tuple[str, ...] = ()
    error: str | None = None

    def memory(self, *, full_precision: bool) -> int:
        """Predict the bytes that the model takes in memory with a conversation of usual length.

        `full_precision` says that the engine computes in 32 bits, as it does on a CPU.
        """
        need = self.weights.total + self.kept
        return need + self.weights.small_floats + self.kept if full_precision else need


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
    weights, error = Weights(), None
    if only_embeds:  # layers behind the pooling have folders of their own
        shards += sorted(folder.glob("*/*.safetensors"))
    elif (folder / "modules.json").is_file():
        error = f"no embedding model of the kind {config['model_type']} can be run"
    tensors: list[str] | None = None
    try:
        weights, tensors = _weights(shards)
    except ValueError as wrong:
        error = str(wrong)
    sees = architectures.sees(config, None if missing else tensors)
    if not (only_embeds or writes or sees):
        return None
    context = longest_input(folder, config) if only_embeds else _context_window(config)
    kept = 0 if only_embeds else _kept(config, min(context or _TOKENS_KEPT, _TOKENS_KEPT))
    return Facts(
        architecture=str(config["model_type"]),
        context_window=context,
        capabilities=("embeddings",) if only_embeds else _capabilities(folder, sees=sees),
        quantization=_quantization(config),
        bytes_on_disk=sum(child.stat().st_size for child in folder.iterdir() if child.is_file()),
        weights=weights,
        kept=kept,
        created=int(file.stat().st_mtime),
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
    # mlx-lm takes the first, mlx-vlm any.
    found = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    there = [path for path in found if path.is_file()]
    gone = {path.name for path in found} - {path.name for path in there}
    try:
        index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=dict[str, Any])
        named = {str(value) for value in dict(index["weight_map"]).values()}
    except (OSError, ValueError, KeyError, TypeError):
        return there, gone
    return there, gone | named - {path.name for path in there}


def _weights(shards: list[Path]) -> tuple[Weights, list[str]]:
    """Add up the tensors of files, and name them. Raises `ValueError` where one is not whole."""
    small = total = 0
    names = []
    for shard in shards:
        for name, dtype, size in _tensors(shard):
            names.append(name)
            total += size
            if dtype in ("BF16", "F16"):
                small += size
    return Weights(small, total), names


def _tensors(file: Path) -> Iterator[tuple[str, str, int]]:
    """Yield name, type and bytes of each tensor. Raises `ValueError` if the file is not whole."""
    there = file.stat().st_size
    with file.open("rb") as opened:
        front = opened.read(8)
        length = struct.unpack("<Q", front)[0] if len(front) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, there - 8):
            raise ValueError(f"{file.name} is not a file of safetensors, or cut short")
        header = opened.read(length)
    try:
        tensors = [
            (name, str(tensor["dtype"]), int(start), int(end))
            for name, tensor in json.loads(header).items()
            if name != "__metadata__"
            for start, end in [tensor["data_offsets"]]
        ]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise ValueError(f"the header of {file.name} describes no tensors") from None
    whole = 8 + length + max((end for *_, end in tensors), default=0)
    if whole > there:
        raise ValueError(f"{file.name} is cut short: it has {there:,} of {whole:,} bytes")
    for name, dtype, start, end in tensors:
        yield name, dtype, end - start


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


def _kept(config: dict[str, Any], tokens: int) -> int:
    """Estimate the bytes of keys and values of so many tokens, in 16 bits."""
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config

    def number(*keys: str) -> int:
        return next((int(part[key]) for key in keys if isinstance(part.get(key), int)), 0)

    layers, heads = number("num_hidden_layers", "n_layer"), number("num_attention_heads", "n_head")
    width = number("head_dim") or (number("hidden_size", "n_embd") // heads if heads else 0)
    return 2 * 2 * layers * (number("num_key_value_heads") or heads) * width * tokens


def _context_window(config: dict[str, Any]) -> int | None:
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            for key in _CONTEXT_KEYS:
                if isinstance(part.get(key), int):
                    return int(part[key])
    return None
