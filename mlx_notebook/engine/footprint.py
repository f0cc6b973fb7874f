"""What a model will take in memory, read from its files without loading it.

The layout of safetensors files: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_notebook.embedding_files import embeds
from mlx_notebook.engine.adapters import replaces_base
from mlx_notebook.engine.errors import LoadFailed, reason
from mlx_notebook.messages import ModelOptions

# Keys and values are reserved for so many tokens: about four chats of a thousand each.
_KV_TOKENS = 4096
_FLOATS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
# A header lists some thousand arrays at about a hundred bytes each.
_LARGEST_HEADER = 100 * 2**20


@dataclass(frozen=True)
class Footprint:
    """Bytes of a model, as far as they can be foreseen.

    Attributes
    ----------
    base
        Its weights, without those below.
    own
        What its adapter and its draft model add.
    kv
        Keys and values of a modest batch.
    shareable
        Whether other models of the same base may use the same arrays.
    """

    base: int
    own: int
    kv: int
    shareable: bool = True

    @property
    def weights(self) -> int:
        """All weights."""
        return self.base + self.own

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv


def footprint(name: str, path: Path, options: ModelOptions) -> Footprint:
    """Predict what a model in the folder `path` will take.

    Raises
    ------
    LoadFailed
        If there is no model, or its files are cut off.
    """
    try:
        config = _config(path / "config.json")
        only_embeds = embeds(name, path, config)
        files = _files(path)
        if only_embeds:  # layers behind the pooling have folders of their own
            files += sorted(path.glob("*/*.safetensors"))
        base = sum(map(_weight_bytes, files))
        own = sum(map(_weight_bytes, _files(Path(options.draft)))) if options.draft else 0
        adapter = Path(options.adapter) if options.adapter else None
        if adapter and (weights := adapter / "adapters.safetensors").is_file():
            own += _weight_bytes(weights)
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else str(error)
        message = f"{name} cannot be loaded: there is no {missing} in its folder."
        raise LoadFailed(message, "model") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    shareable = adapter is None or not replaces_base(adapter)
    return Footprint(base, own, 0 if only_embeds else _kv_bytes(config, options), shareable)


def _config(file: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name} is not readable JSON ({reason(error)}).") from error
    return config


def _files(path: Path) -> list[Path]:
    """The files that hold the weights, as mlx-lm finds them (mlx-vlm takes any name)."""
    files = sorted(path.glob("model*.safetensors")) or sorted(path.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError("safetensors file")
    return files


def _weight_bytes(file: Path) -> int:
    return sum(size * _growth(dtype) for dtype, size in _arrays(file))


def _arrays(file: Path) -> Iterator[tuple[str, int]]:
    """Type and bytes of each array in a safetensors file."""
    there = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(there, _LARGEST_HEADER):
            raise ValueError(f"{file.name} is cut off or is no safetensors file.")
        header: dict[str, Any] = json.loads(opened.read(length))
    end = 0
    for name, array in header.items():
        if name != "__metadata__":
            begin, stop = array["data_offsets"]
            end = max(end, stop)
            yield array["dtype"], stop - begin
    if 8 + length + end > there:
        raise ValueError(
            f"{file.name} is cut off: {there:,} of {8 + length + end:,} bytes are there. "
            "Download the model again."
        )


def _growth(dtype: str) -> int:
    """How many times larger an array is in memory than in its file."""
    if dtype not in _FLOATS:
        return 1
    # On a CPU everything is computed in float32; eight-bit floats are widened while loading.
    width = 4 if mx.default_device() == mx.cpu else 2
    stored = {"F64": 8, "F32": 4}.get(dtype, 1 if dtype.startswith("F8") else 2)
    return max(1, width // stored)


def _kv_bytes(config: dict[str, Any], options: ModelOptions) -> int:
    """Keys and values of a modest batch; 0 where the configuration does not say."""
    text = config.get("text_config") or config

    def number(*keys: str) -> int:
        return next((text[key] for key in keys if isinstance(text.get(key), int)), 0)

    heads = number("num_attention_heads", "n_head", "n_heads")
    layers = number("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    if rank := number("kv_lora_rank"):  # multi-head latent attention keeps one vector a token
        width = rank + number("qk_rope_head_dim")
    else:
        size = number("head_dim") or number("hidden_size", "n_embd", "d_model") // max(1, heads)
        width = 2 * (number("num_key_value_heads", "n_kv_heads") or heads) * size
    context = number("max_position_embeddings", "n_positions", "max_seq_len") or _KV_TOKENS
    tokens = min(_KV_TOKENS, options.context_limit or context)
    return layers * width * tokens * (4 if mx.default_device() == mx.cpu else 2)
