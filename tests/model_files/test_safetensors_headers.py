"""Arrays are read from the headers of safetensors files; a broken file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlx_notebook.model_files.safetensors_headers import (
    ArrayInfo,
    pooling_files,
    read_arrays,
    weight_files,
)


def test_names_types_and_sizes_are_those_of_the_arrays(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(5, np.float32)}, file)
    found = sorted(read_arrays([file]), key=lambda array: array.name)
    assert found == [ArrayInfo("a", "F16", 12), ArrayInfo("b", "F32", 20)]


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(100, np.float32)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"is cut off, .* bytes are there"):
        read_arrays([file])
    file.write_bytes(whole[:20])
    with pytest.raises(ValueError, match="cut off or is no safetensors file"):
        read_arrays([file])


def test_a_header_with_impossible_offsets_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="describes no arrays"):
        read_arrays([file])


def test_files_named_model_are_the_weights_where_there_are_any(tmp_path: Path) -> None:
    for name in ("other.safetensors", "1_Dense/model.safetensors"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert weight_files(tmp_path) == [tmp_path / "other.safetensors"]
    for name in ("model-2.safetensors", "model-1.safetensors"):
        (tmp_path / name).touch()
    names = [file.name for file in weight_files(tmp_path)]
    assert names == ["model-1.safetensors", "model-2.safetensors"]
    assert pooling_files(tmp_path) == [tmp_path / "1_Dense/model.safetensors"]
