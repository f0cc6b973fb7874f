"""The arrays in a model's safetensors files, read from the headers of the files.

Format: https://github.com/huggingface/safetensors#format
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Raw, Struct

from mlx_notebook.model_files.model_folder import decoded, opened, shown

# A header lists some thousand arrays, at most a hundred thousand, at about 100 bytes each.
_LARGEST_HEADER = 32 * 2**20


class ArrayInfo(Struct, frozen=True):
    """An array in a file: its name, its dtype as safetensors names it, and its size in bytes."""

    name: str
    dtype: str
    size: int


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a model's weights, as mlx-lm finds them (mlx-vlm takes any file)."""
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))


def pooling_files(folder: Path) -> list[Path]:
    """Return the weights of an embedding model's layers after pooling, which have subfolders."""
    return sorted(folder.glob("*/*.safetensors"))


def read_arrays(files: Iterable[Path]) -> list[ArrayInfo]:
    """Return the arrays in safetensors files.

    Raises
    ------
    ValueError
        If a file is cut off or is no safetensors file.
    OSError
        If a file cannot be read.
    """
    return [array for file in files for array in _read_header(file)]


class _Description(Struct):
    """An array in a header. Its bytes are those from the first offset up to the second."""

    dtype: str
    data_offsets: tuple[int, int]


def _read_header(file: Path) -> Iterator[ArrayInfo]:
    name = shown(file.name)
    with opened(file) as stream:
        file_size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, file_size - 8):
            raise ValueError(f"{name} is cut off or is no safetensors file")
        header = decoded(stream.read(length), f"the header of {name}", dict[str, Raw])
    end = 0
    for array, raw in header.items():
        if array == "__metadata__":
            continue
        description = decoded(raw, f"the header of {name}", _Description)
        first, last = description.data_offsets
        if not 0 <= first <= last:
            raise ValueError(f"the header of {name} describes no arrays")
        end = max(end, last)
        yield ArrayInfo(array, description.dtype, last - first)
    if (whole := 8 + length + end) > file_size:
        raise ValueError(
            f"{name} is cut off, {file_size:,} of its {whole:,} bytes are there: download the "
            "model again"
        )
