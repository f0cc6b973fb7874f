"""The blocks of GGUF's quantised types, as MLX's quantised arrays.

A value of a block is `scale * q + bias`, as in MLX. So the integers are only put into MLX's order,
and nothing is rounded again. Q6_K is the exception: its groups have 16 values, and MLX's have 32.
Its values are quantised anew with 8 bits, in steps of a quarter of the larger scale of two groups.
Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
"""

from collections.abc import Callable

import mlx.core as mx

from mlx_notebook.model_files.gguf.gguf_kinds import GROUP

Quantized = tuple[mx.array, mx.array, mx.array]
"""Packed integers, scales and biases, of shapes (rows, ...)."""


def quantized(kind: str, blocks: mx.array) -> Quantized:
    """Return blocks as a quantised array with groups of 32 values.

    Parameters
    ----------
    kind
        A quantised type that can be loaded.
    blocks
        Bytes of shape (rows, blocks of a row, bytes of a block).
    """
    return _READERS[kind](blocks)


def _q4_0(blocks: mx.array) -> Quantized:
    scales = _float(blocks, 0)
    return _packed(_nibbles(blocks[..., 2:]), 4), scales, -8 * scales


def _q4_1(blocks: mx.array) -> Quantized:
    return _packed(_nibbles(blocks[..., 4:]), 4), _float(blocks, 0), _float(blocks, 2)


def _q5_0(blocks: mx.array) -> Quantized:
    scales = _float(blocks, 0)
    return _packed(_five_bits(blocks[..., 2:6], blocks[..., 6:]), 5), scales, -16 * scales


def _q5_1(blocks: mx.array) -> Quantized:
    values = _five_bits(blocks[..., 4:8], blocks[..., 8:])
    return _packed(values, 5), _float(blocks, 0), _float(blocks, 2)


def _q8_0(blocks: mx.array) -> Quantized:
    scales = _float(blocks, 0)
    # Signed bytes become unsigned ones: 128 is added.
    return _packed(blocks[..., 2:] ^ 0x80, 8), scales, -128 * scales


def _q4_k(blocks: mx.array) -> Quantized:
    scales, biases = _super_scales(blocks)
    pairs = blocks[..., 16:].reshape(*blocks.shape[:2], 4, 1, 32)
    values = mx.concatenate([pairs & 15, pairs >> 4], axis=-2)
    return _packed(_grouped(values), 4), scales, biases


def _q5_k(blocks: mx.array) -> Quantized:
    scales, biases = _super_scales(blocks)
    pairs = blocks[..., 48:].reshape(*blocks.shape[:2], 4, 1, 32)
    low = _grouped(mx.concatenate([pairs & 15, pairs >> 4], axis=-2))
    # Bit g of a byte belongs to group g.
    groups = mx.arange(8, dtype=mx.uint8)[:, None]
    high = _grouped((blocks[..., None, 16:48] >> groups) & 1)
    return _packed(low | (high << 4), 5), scales, biases


def _q6_k(blocks: mx.array) -> Quantized:
    rows, count, _ = blocks.shape
    low = blocks[..., :128].reshape(rows, count, 2, 2, 32)
    high = blocks[..., 128:192].reshape(rows, count, 2, 1, 32)
    # Of each half: 32 values by low nibbles, 32 more, then the same of the high nibbles.
    four = mx.concatenate([low & 15, low >> 4], axis=-2)
    shifts = mx.array([0, 2, 4, 6], dtype=mx.uint8)[:, None]
    values = (four | (((high >> shifts) & 3) << 4)).astype(mx.float32) - 32
    small = blocks[..., 192:208].view(mx.int8).astype(mx.float32)
    scales = _float(blocks, 208).astype(mx.float32)[..., None] * small
    dense = values.reshape(rows, count, 16, 16) * scales[..., None]
    packed, new_scales, biases = mx.quantize(dense.reshape(rows, -1), group_size=GROUP, bits=8)
    return packed, new_scales.astype(mx.float16), biases.astype(mx.float16)


_READERS: dict[str, Callable[[mx.array], Quantized]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}


def _float(blocks: mx.array, at: int) -> mx.array:
    """Return the 16-bit float at a place of each block, of shape (rows, blocks)."""
    return mx.contiguous(blocks[..., at : at + 2]).view(mx.float16)[..., 0]


def _nibbles(content: mx.array) -> mx.array:
    """Return the values of blocks of 32: first the low halves of 16 bytes, then the high ones."""
    return mx.concatenate([content & 15, content >> 4], axis=-1)


def _five_bits(high: mx.array, low: mx.array) -> mx.array:
    """Return values of 5 bits: bit i of four bytes is the highest of value i."""
    bits = (high[..., None] >> mx.arange(8, dtype=mx.uint8)) & 1
    return _nibbles(low) | (bits.reshape(*high.shape[:-1], 32) << 4)


def _super_scales(blocks: mx.array) -> tuple[mx.array, mx.array]:
    """Return the scales and biases of the eight groups of each block of 256 values.

    A block has a scale of scales, a scale of minima, and twelve bytes with 6 bits for each group.
    """
    first, second, third = (blocks[..., at : at + 4] for at in (4, 8, 12))
    scales = mx.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=-1)
    minima = mx.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=-1)

    def scaled(at: int, small: mx.array) -> mx.array:
        whole = _float(blocks, at).astype(mx.float32)[..., None] * small.astype(mx.float32)
        return whole.reshape(blocks.shape[0], -1).astype(mx.float16)

    return scaled(0, scales), -scaled(2, minima)


def _grouped(values: mx.array) -> mx.array:
    """Return values as groups, of shape (rows, groups of a row, 32)."""
    return values.reshape(values.shape[0], -1, GROUP)


def _packed(values: mx.array, bits: int) -> mx.array:
    """Return integers as MLX packs them: each begins at the bit where the one before it ends.

    `values` are bytes of shape (rows, groups, 32).
    """
    rows = values.shape[0]
    if bits == 8:
        content = values
    elif bits == 4:
        content = values[..., 0::2] | (values[..., 1::2] << 4)
    else:
        content = _packed_fives(values)
    return mx.contiguous(content.reshape(rows, -1)).view(mx.uint32)


def _packed_fives(values: mx.array) -> mx.array:
    """Return values of 5 bits as bytes, eight values in five of them."""
    eight = values.reshape(*values.shape[:-1], 4, 8)
    v = [eight[..., i] for i in range(8)]
    return mx.stack(
        [
            v[0] | (v[1] << 5),
            (v[1] >> 3) | (v[2] << 2) | (v[3] << 7),
            (v[3] >> 1) | (v[4] << 4),
            (v[4] >> 4) | (v[5] << 1) | (v[6] << 6),
            (v[6] >> 2) | (v[7] << 3),
        ],
        axis=-1,
    )
