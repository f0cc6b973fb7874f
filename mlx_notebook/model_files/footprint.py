"""What a model will take in memory, told from its files without loading it.

The server shows it before an engine runs, and the engine makes room by it: one arithmetic for both.
The layout of safetensors files: https://github.com/huggingface/safetensors#format
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Raw, Struct

from mlx_notebook.model_files.model_folder import decoded, opened, shown
from mlx_notebook.protocol import ModelOptions

# Keys and values are reserved for so many tokens: about four chats of a thousand each.
_KEPT_TOKENS = 4096
# A header lists some thousand arrays at about a hundred bytes each, at most a hundred thousand.
_LARGEST_HEADER = 32 * 2**20
# No model has a dimension, or keeps so many numbers of a token.
_BEYOND_REASON = 2**40
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# mlx-lm quantises keys and values in groups, each with a scale and a bias.
_KEPT_GROUP = 64


class Array(Struct, frozen=True):
    """An array in a file: its name, its type in the words of safetensors, its bytes."""

    name: str
    dtype: str
    size: int


class Weights(Struct, frozen=True):
    """Bytes of arrays in files: all of them, and those of 16-bit and 8-bit floats among them."""

    total: int = 0
    halves: int = 0
    quarters: int = 0

    def in_memory(self, *, full_precision: bool) -> int:
        """Return their bytes once they are loaded.

        `full_precision` says that the engine computes in 32 bits, as it does on a CPU. Eight-bit
        floats are widened while loading everywhere; numbers of quantised models never.
        """
        grown = self.halves + 3 * self.quarters if full_precision else self.quarters
        return self.total + grown

    @classmethod
    def of(cls, arrays: Iterable[Array]) -> "Weights":
        """Add arrays up."""
        total = halves = quarters = 0
        for array in arrays:
            total += array.size
            halves += array.size if array.dtype in ("BF16", "F16") else 0
            quarters += array.size if array.dtype.startswith("F8") else 0
        return cls(total, halves, quarters)


class Kept(Struct, frozen=True):
    """What a model keeps of what it has read: `numbers` a token, at most `context` tokens."""

    numbers: int = 0
    context: int | None = None

    def in_memory(self, options: ModelOptions, *, full_precision: bool) -> int:
        """Return the bytes of the keys and values of a modest batch."""
        tokens = min(_KEPT_TOKENS, options.context_limit or self.context or _KEPT_TOKENS)
        width = 4 if full_precision else 2
        count = self.numbers * tokens
        if options.kv_bits is None:
            return count * width
        return count * options.kv_bits // 8 + 2 * width * count // _KEPT_GROUP


class Footprint(Struct, frozen=True):
    """Bytes of a model, as far as they can be foreseen.

    Attributes:
        base: Its weights, without those below.
        own: What its adapter and its draft model add.
        kv: Keys and values of a modest batch.
        shareable: Whether other models of the same base may use the same arrays.
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


def foreseen(
    weights: Weights,
    kept: Kept,
    options: ModelOptions,
    *,
    adapter: Weights | None = None,
    draft: tuple[Weights, Kept] | None = None,
    shareable: bool = True,
    full_precision: bool,
) -> Footprint:
    """Predict what a model takes with the adapter and the draft model of its options."""
    own, kv = 0, kept.in_memory(options, full_precision=full_precision)
    if adapter is not None:
        own += adapter.in_memory(full_precision=full_precision)
    if draft is not None:
        own += draft[0].in_memory(full_precision=full_precision)
        # The draft model's are never quantised.
        plain = ModelOptions(context_limit=options.context_limit)
        kv += draft[1].in_memory(plain, full_precision=full_precision)
    return Footprint(weights.in_memory(full_precision=full_precision), own, kv, shareable)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, as mlx-lm finds them (mlx-vlm takes any)."""
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))


def pooling_files(folder: Path) -> list[Path]:
    """Return the weights of an embedding model's layers behind its pooling: they have folders."""
    return sorted(folder.glob("*/*.safetensors"))


def read_arrays(files: Iterable[Path]) -> list[Array]:
    """Return the arrays in safetensors files, from their headers.

    Raises:
        ValueError: One of the files is not whole.
        OSError: One cannot be read.
    """
    return [array for file in files for array in _arrays(file)]


class _Described(Struct):
    """An array, as a header describes it: its bytes are those from `first` up to `last`."""

    dtype: str
    data_offsets: tuple[int, int]


def _arrays(file: Path) -> Iterator[Array]:
    name = shown(file.name)
    with opened(file) as stream:
        there = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, there - 8):
            raise ValueError(f"{name} is cut off or is no safetensors file")
        header = decoded(stream.read(length), f"the header of {name}", dict[str, Raw])
    end = 0
    for array, description in header.items():
        if array == "__metadata__":
            continue
        described = decoded(description, f"the header of {name}", _Described)
        first, last = described.data_offsets
        if not 0 <= first <= last:
            raise ValueError(f"the header of {name} describes no arrays")
        end = max(end, last)
        yield Array(array, described.dtype, last - first)
    if (whole := 8 + length + end) > there:
        raise ValueError(
            f"{name} is cut off, {there:,} of its {whole:,} bytes are there: download the "
            "model again"
        )


def kept(config: Mapping[str, Any]) -> Kept:
    """Tell from a config.json what is kept of each token; 0 numbers where it does not say.

    Raises:
        ValueError: A number in it is beyond reason.
    """
    text = config.get("text_config")
    part = text if isinstance(text, Mapping) else config

    def number(*keys: str) -> int:
        return next((_count(part, key) for key in keys if isinstance(part.get(key), int)), 0)

    layers = number("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads = number("num_attention_heads", "n_head", "n_heads")
    if rank := number("kv_lora_rank"):  # multi-head latent attention keeps one vector a token
        width = rank + number("qk_rope_head_dim")
    else:
        size = number("head_dim") or number("hidden_size", "n_embd", "d_model") // max(1, heads)
        width = 2 * (number("num_key_value_heads", "n_kv_heads") or heads) * size
    if layers * width >= _BEYOND_REASON:
        raise ValueError("the dimensions in config.json are beyond reason")
    return Kept(layers * width, context_window(config))


def context_window(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a model was made for, as its config.json has it.

    Raises:
        ValueError: The number is beyond reason.
    """
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping):
            for key in _CONTEXT_KEYS:
                if isinstance(part.get(key), int):
                    return _count(part, key) or None
    return None


def _count(config: Mapping[str, Any], key: str) -> int:
    """Return a number of things; 0 for a negative one, which some configurations use for none."""
    count = int(config[key])
    if count >= _BEYOND_REASON:
        raise ValueError(f"{key} in config.json is beyond reason")
    return max(0, count)
