"""Files of a model's folder are read with limits, and never block their reader."""

import os
from pathlib import Path

import pytest

from mlx_notebook.model_files.model_folder import check, decoded, read_bytes, read_json, shown


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"12345")
    assert read_bytes(file, 5) == b"12345"
    with pytest.raises(ValueError, match="is too large"):
        read_bytes(file, 4)


def test_json_is_decoded_as_a_type(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"a": 1}')
    assert read_json(file, type=dict[str, int]) == {"a": 1}
    with pytest.raises(ValueError, match="is not readable JSON"):
        read_json(file, type=list[int])
    with pytest.raises(ValueError, match="x is nested too deeply"):
        decoded(b"[" * 100_000, "x")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="is no regular file"):
        read_bytes(tmp_path / "config.json")
    with pytest.raises(ValueError, match="is no regular file"):
        check(tmp_path)


def test_a_link_to_a_file_that_is_not_downloaded_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs/missing")
    check(tmp_path)


def test_names_that_are_not_text_are_escaped() -> None:
    assert shown("ab") == "ab"
    assert shown(os.fsdecode(b"a\xff")) == r"a\xff"
