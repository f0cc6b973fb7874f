"""The types of tensors in GGUF files, and what each becomes in memory.

A quantised type has blocks: the values of a block share a scale. MLX computes with integers in
groups of 32 values, each group with a scale and a bias.
Types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from msgspec import Struct

from mlx_notebook.model_files.safetensors_headers import ArrayInfo

GROUP = 32
"""Values of a group in memory."""


class GgufKind(Struct, frozen=True):
    """A type of tensors.

    Attributes
    ----------
    name
        Its name.
    values, size
        The values in a block, and the bytes of a block in the file.
    bits
        Bits of a value in memory, if it is quantised there.
    readable
        Whether tensors of this type can be loaded.
    """

    name: str
    values: int
    size: int
    bits: int | None = None
    readable: bool = False


KINDS = {
    0: GgufKind("F32", 1, 4, readable=True),
    1: GgufKind("F16", 1, 2, readable=True),
    2: GgufKind("Q4_0", 32, 18, 4, readable=True),
    3: GgufKind("Q4_1", 32, 20, 4, readable=True),
    6: GgufKind("Q5_0", 32, 22, 5, readable=True),
    7: GgufKind("Q5_1", 32, 24, 5, readable=True),
    8: GgufKind("Q8_0", 32, 34, 8, readable=True),
    9: GgufKind("Q8_1", 32, 40),
    10: GgufKind("Q2_K", 256, 84),
    11: GgufKind("Q3_K", 256, 110),
    12: GgufKind("Q4_K", 256, 144, 4, readable=True),
    13: GgufKind("Q5_K", 256, 176, 5, readable=True),
    14: GgufKind("Q6_K", 256, 210, 8, readable=True),
    15: GgufKind("Q8_K", 256, 292),
    16: GgufKind("IQ2_XXS", 256, 66),
    17: GgufKind("IQ2_XS", 256, 74),
    18: GgufKind("IQ3_XXS", 256, 98),
    19: GgufKind("IQ1_S", 256, 50),
    20: GgufKind("IQ4_NL", 32, 18),
    21: GgufKind("IQ3_S", 256, 110),
    22: GgufKind("IQ2_S", 256, 82),
    23: GgufKind("IQ4_XS", 256, 136),
    24: GgufKind("I8", 1, 1),
    25: GgufKind("I16", 1, 2),
    26: GgufKind("I32", 1, 4),
    27: GgufKind("I64", 1, 8),
    28: GgufKind("F64", 1, 8),
    29: GgufKind("IQ1_M", 256, 56),
    30: GgufKind("BF16", 1, 2, readable=True),
    34: GgufKind("TQ1_0", 256, 54),
    35: GgufKind("TQ2_0", 256, 66),
    39: GgufKind("MXFP4", 32, 17),
}
"""The types by their numbers in files."""

BY_NAME = {kind.name: kind for kind in KINDS.values()}
"""The types by their names."""

READABLE = tuple(kind.name for kind in KINDS.values() if kind.readable)
"""Names of the types that can be loaded."""


def arrays_in_memory(name: str, kind: GgufKind, values: int, dtype: str) -> list[ArrayInfo]:
    """Return the arrays that a tensor becomes; `dtype` is the type of the model's floats."""
    width = 4 if dtype == "F32" else 2
    if kind.bits is None:
        return [ArrayInfo(name, dtype, values * width)]
    stem, per_group = name.removesuffix(".weight"), values // GROUP * width
    return [
        ArrayInfo(name, "U32", values * kind.bits // 8),
        ArrayInfo(f"{stem}.scales", dtype, per_group),
        ArrayInfo(f"{stem}.biases", dtype, per_group),
    ]
