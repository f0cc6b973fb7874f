"""Predict the memory that a model takes, from its files, without loading it.

The server shows the prediction and the engine makes room for it: both use this arithmetic.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mlx_notebook.model_files.audio_files import is_transcriber, working_numbers
from mlx_notebook.model_files.embedding_files import is_embedding_model
from mlx_notebook.model_files.gguf.gguf_architectures import (
    check_loadable,
    config_of,
    loaded_arrays,
)
from mlx_notebook.model_files.gguf.gguf_header import read_header
from mlx_notebook.model_files.model_folder import check, read_json
from mlx_notebook.model_files.reranker_files import is_cross_encoder
from mlx_notebook.model_files.safetensors_headers import (
    ArrayInfo,
    pooling_files,
    read_arrays,
    weight_files,
)
from mlx_notebook.protocol import ModelOptions

# Tokens for which a KV cache is reserved: about four chats of a thousand tokens each.
_RESERVED_TOKENS = 4096
# No real model has a larger dimension, or a larger KV cache per token.
_IMPLAUSIBLE = 2**40
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# mlx-lm quantises keys and values in groups, each with a scale and a bias.
_KV_GROUP = 64


class WeightBytes(Struct, frozen=True):
    """Bytes of arrays on disk: all, those in 16-bit floats, and those in 8-bit floats."""

    total: int = 0
    float16: int = 0
    float8: int = 0

    def in_memory(self, *, full_precision: bool) -> int:
        """Return the bytes of the arrays once they are loaded.

        `full_precision` says that the engine computes in 32 bits, as on a CPU. 8-bit floats are
        always widened when they are loaded. Weights of quantised models never are.
        """
        grown = self.float16 + 3 * self.float8 if full_precision else self.float8
        return self.total + grown

    @classmethod
    def of(cls, arrays: Iterable[ArrayInfo]) -> "WeightBytes":
        """Return the sums over arrays."""
        total = float16 = float8 = 0
        for array in arrays:
            total += array.size
            float16 += array.size if array.dtype in ("BF16", "F16") else 0
            float8 += array.size if array.dtype.startswith("F8") else 0
        return cls(total, float16, float8)


class KVCacheSize(Struct, frozen=True):
    """The size of a model's KV cache: `numbers` per token, for at most `context` tokens."""

    numbers: int = 0
    context: int | None = None

    def in_memory(self, options: ModelOptions, *, full_precision: bool) -> int:
        """Return the bytes of the KV cache of a small batch."""
        tokens = min(_RESERVED_TOKENS, options.context_limit or self.context or _RESERVED_TOKENS)
        width = 4 if full_precision else 2
        count = self.numbers * tokens
        if options.kv_bits is None:
            return count * width
        return count * options.kv_bits // 8 + 2 * width * count // _KV_GROUP


class Footprint(Struct, frozen=True):
    """Predicted memory of a model, in bytes.

    Attributes
    ----------
    base
        The model's own weights.
    own
        The weights of its adapter and its draft model.
    kv
        The KV cache of a small batch.
    shareable
        Whether other models of the same base may share the arrays of `base`.
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
        """Weights and KV cache."""
        return self.weights + self.kv

    def on_rank(self, ranks: int) -> "Footprint":
        """Return what one of several ranks needs, if the model is divided evenly."""
        return replace(self, base=-(-self.base // ranks), kv=-(-self.kv // ranks))


def predict_footprint(
    weights: WeightBytes,
    kv_cache: KVCacheSize,
    options: ModelOptions,
    *,
    adapter: WeightBytes | None = None,
    draft: tuple[WeightBytes, KVCacheSize] | None = None,
    shareable: bool = True,
    full_precision: bool,
) -> Footprint:
    """Predict the memory of a model with its adapter and its draft model."""
    own, kv = 0, kv_cache.in_memory(options, full_precision=full_precision)
    if adapter is not None:
        own += adapter.in_memory(full_precision=full_precision)
    if draft is not None:
        own += draft[0].in_memory(full_precision=full_precision)
        # The draft model's KV cache is never quantised.
        plain = ModelOptions(context_limit=options.context_limit)
        kv += draft[1].in_memory(plain, full_precision=full_precision)
    return Footprint(weights.in_memory(full_precision=full_precision), own, kv, shareable)


def read_sizes(name: str, folder: Path) -> tuple[WeightBytes, KVCacheSize]:
    """Return the sizes of a model's weights and KV cache, from its folder or its GGUF file.

    Raises
    ------
    FileNotFoundError
        If a file is missing. `filename` is None if there are no weights.
    ValueError
        If a file is not valid, or the folder holds what no library should open.
    OSError
        If a file cannot be read.
    """
    if folder.is_file():
        header = read_header(folder)
        check_loadable(header)
        return WeightBytes.of(loaded_arrays(header)), kv_cache_size(config_of(header))
    check(folder)
    config = read_json(folder / "config.json", type=dict[str, Any])
    files = weight_files(folder)
    if not files:
        raise FileNotFoundError("safetensors file")
    if is_embedding_model(name, folder, config) or is_cross_encoder(config):
        return WeightBytes.of(read_arrays([*files, *pooling_files(folder)])), KVCacheSize()
    return WeightBytes.of(read_arrays(files)), kv_cache_size(config)


def kv_cache_size(config: Mapping[str, Any]) -> KVCacheSize:
    """Return the size of the KV cache that config.json describes; 0 numbers if it does not say.

    Raises
    ------
    ValueError
        If a number is implausibly large.
    """
    if is_transcriber(config):
        return _plausible(*working_numbers(config))
    text = config.get("text_config")
    part = text if isinstance(text, Mapping) else config

    def number(*keys: str) -> int:
        return next((_count(part, key) for key in keys if isinstance(part.get(key), int)), 0)

    layers = number("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads = number("num_attention_heads", "n_head", "n_heads")
    if rank := number("kv_lora_rank"):  # multi-head latent attention keeps one vector per token
        width = rank + number("qk_rope_head_dim")
    else:
        size = number("head_dim") or number("hidden_size", "n_embd", "d_model") // max(1, heads)
        width = 2 * (number("num_key_value_heads", "n_kv_heads") or heads) * size
    return _plausible(layers * width, context_window(config))


def _plausible(numbers: int, context: int | None) -> KVCacheSize:
    if numbers >= _IMPLAUSIBLE or (context or 0) >= _IMPLAUSIBLE:
        raise ValueError("the dimensions in config.json are implausibly large")
    return KVCacheSize(numbers, context)


def context_window(config: Mapping[str, Any]) -> int | None:
    """Return the context length in config.json, in tokens. None if it does not say.

    Raises
    ------
    ValueError
        If the number is implausibly large.
    """
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping):
            for key in _CONTEXT_KEYS:
                if isinstance(part.get(key), int):
                    return _count(part, key) or None
    return None


def _count(config: Mapping[str, Any], key: str) -> int:
    """Return a number; 0 for a negative one, which some configurations write for none."""
    count = int(config[key])
    if count >= _IMPLAUSIBLE:
        raise ValueError(f"{key} in config.json is implausibly large")
    return max(0, count)
