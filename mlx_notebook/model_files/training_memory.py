"""Estimate the memory that training an adapter takes, from a model's config.json.

It is an estimate before anything is loaded. The job measures what it takes, and asks for more.
"""

from collections.abc import Mapping
from typing import Any

# An adapter's array, its gradient, and two averages of Adam, in 32 bits.
_BYTES_PER_TRAINED = 4 * 4
# What a layer keeps of each token for the way back, in multiples of its width.
_KEPT_PER_LAYER = 24
# Logits, their gradient and the loss.
_KEPT_PER_WORD = 3
# Buffers of MLX between steps.
_SPARE = 1.2


def training_bytes(
    config: Mapping[str, Any],
    *,
    weights: int,
    tokens: int,
    rank: int,
    layers: int,
    full_precision: bool,
) -> int:
    """Return the bytes that one step of training takes at most, weights of the base included.

    Parameters
    ----------
    config
        The model's config.json.
    weights
        Bytes of the base model in memory.
    tokens
        Tokens of a batch.
    rank, layers
        Of the adapter; `layers` -1: all.
    full_precision
        Whether the device computes in 32 bits.
    """
    text = config.get("text_config")
    part = text if isinstance(text, Mapping) else config

    def number(name: str, default: int) -> int:
        value = part.get(name)
        return value if isinstance(value, int) and 0 < value < 2**24 else default

    width = number("hidden_size", 1024)
    inner = number("intermediate_size", 4 * width)
    depth = number("num_hidden_layers", 24)
    words = number("vocab_size", 32_000)
    trained_layers = depth if layers < 0 else min(layers, depth)
    trained = trained_layers * rank * (8 * width + 3 * (width + inner))
    size = 4 if full_precision else 2
    kept = tokens * (depth * (_KEPT_PER_LAYER * width + 4 * inner) * size)
    logits = tokens * words * _KEPT_PER_WORD * 4
    return int((weights + trained * _BYTES_PER_TRAINED + kept + logits) * _SPARE)
