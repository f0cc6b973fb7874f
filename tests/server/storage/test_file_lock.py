"""Locks between the servers of one user."""

import os
from pathlib import Path

import pytest

from mlx_notebook.server.storage.file_lock import locked, try_lock


def test_a_lock_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file):
        other = os.open(file, os.O_RDWR)
        assert not try_lock(other)
        with pytest.raises(TimeoutError, match="another server"), locked(file, seconds=0):
            pass
    assert try_lock(other)
    os.close(other)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock", seconds=0):
        pass


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing" / "lock"):
        pass
