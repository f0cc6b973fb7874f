"""Blocks of GGUF's types hold the values that llama.cpp's own library reads in them."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_notebook.engine.gguf.block_types import quantized
from mlx_notebook.model_files.gguf.gguf_kinds import BY_NAME, GROUP
from tests.tiny_models.gguf_models import GGMLQuantizationType, quants

# Where the 16-bit floats of a block are, for the types that the library reads and does not write.
FLOATS = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def blocks(kind: str) -> np.ndarray:
    """Return 8 rows of 512 values, as bytes of shape (8, blocks, bytes)."""
    random, form = np.random.default_rng(3), BY_NAME[kind]
    if kind not in FLOATS:
        values = random.standard_normal((8, 512), dtype=np.float32)
        raw = quants.quantize(values, GGMLQuantizationType[kind])
        return raw.reshape(8, -1, form.size)
    raw = random.integers(0, 256, (8, 512 // form.values, form.size), dtype=np.uint8)
    for at in FLOATS[kind]:
        scales = random.uniform(0.001, 0.01, (*raw.shape[:2], 1)).astype(np.float16)
        raw[..., at : at + 2] = scales.view(np.uint8)
    return raw


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_blocks_hold_the_values_that_llama_cpp_reads(kind: str) -> None:
    raw, bits = blocks(kind), BY_NAME[kind].bits
    expected = quants.dequantize(raw.reshape(8, -1), GGMLQuantizationType[kind])
    packed, scales, biases = quantized(kind, mx.array(raw))
    read = mx.dequantize(
        packed, scales.astype(mx.float32), biases.astype(mx.float32), group_size=GROUP, bits=bits
    )
    # The scales of a group are a product in the K types: it is rounded to 16 bits.
    # Q6_K has no counterpart, its values are quantised anew.
    tolerance = {"Q4_K": 1e-3, "Q5_K": 1e-3, "Q6_K": 8e-3}.get(kind, 0.0)
    assert np.abs(np.array(read) - expected).max() <= tolerance * np.abs(expected).max()
