"""One block on disk: what is read is what was written, or nothing."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from mlx_notebook.engine.kv_cache.disk import block_file
from mlx_notebook.engine.kv_cache.disk.block_file import (
    Arrays,
    DamagedBlock,
    block_bytes,
    read_block,
    write_block,
)


def views() -> Arrays:
    """Parts of larger arrays, as a KV cache with unused capacity has them; and one turned array."""
    numbers = np.random.default_rng(0)
    return {
        "0/0": numbers.integers(0, 2**16, (1, 4, 64, 16), np.uint16)[..., 8:24, :],
        "0/1": numbers.random((2, 3, 64, 5), np.float32)[..., 8:24, :],
        "1/0": numbers.random((1, 16, 4, 2), np.float32).swapaxes(1, 2),
        "1/1": np.ones((1, 1, 16, 3), np.float16),
    }


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])
        for name in one
    )


def test_views_of_any_kind_are_read_as_they_were_written(tmp_path: Path) -> None:
    size = write_block(tmp_path / "b", "b", views())
    assert size == (tmp_path / "b").stat().st_size == block_bytes("b", views())
    assert same(read_block(tmp_path / "b", "b"), views())
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_more_parts_than_one_call_takes_and_calls_that_end_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.writev
    lengths = []

    def short(descriptor: int, pieces: list[np.ndarray]) -> int:
        """Write a part, as the system may do at a signal."""
        lengths.append(len(pieces))
        data = b"".join(piece.tobytes() for piece in pieces)
        return os.write(descriptor, data[: len(data) * 2 // 3 + 1])

    monkeypatch.setattr(block_file, "_PIECES", 3)
    monkeypatch.setattr(block_file, "_BUFFER", 100)
    monkeypatch.setattr(os, "writev", short)
    write_block(tmp_path / "b", "b", views())
    assert max(lengths) == 3
    assert same(read_block(tmp_path / "b", "b"), views())
    monkeypatch.setattr(os, "writev", whole)
    write_block(tmp_path / "c", "b", views())
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("place", [0, 9, 70, -40, -1])
def test_a_changed_byte_anywhere_is_found(tmp_path: Path, place: int) -> None:
    write_block(tmp_path / "b", "b", views())
    data = bytearray((tmp_path / "b").read_bytes())
    data[place] ^= 1
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(DamagedBlock):
        read_block(tmp_path / "b", "b")


def test_a_torn_file_is_found_wherever_it_ends(tmp_path: Path) -> None:
    write_block(tmp_path / "b", "b", views())
    data = (tmp_path / "b").read_bytes()
    for end in [*range(0, len(data), 97), len(data) - 1]:
        for rest in (b"", b"\0" * (len(data) - end)):  # zeros: a file whose data never arrived
            (tmp_path / "b").write_bytes(data[:end] + rest)
            with pytest.raises(DamagedBlock):
                read_block(tmp_path / "b", "b")


def test_a_block_under_the_name_of_another_is_found(tmp_path: Path) -> None:
    write_block(tmp_path / "b", "b", views())
    with pytest.raises(DamagedBlock, match="other tokens"):
        read_block((tmp_path / "b").rename(tmp_path / "c"), "c")


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_block(tmp_path / "b", "b", views())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_a_disk_that_is_nearly_full_gets_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_file, "_MIN_FREE", 2**62)
    with pytest.raises(OSError, match="nearly full"):
        write_block(tmp_path / "b", "b", views())
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, pieces: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(os, "writev", fail)
    with pytest.raises(OSError, match="no space left"):
        write_block(tmp_path / "b", "b", views())
    assert not list(tmp_path.iterdir())
