"""Create a temporary folder for a process, and delete those that killed processes have left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_notebook.server.storage.file_lock import try_lock

_PREFIX = "mlx-notebook-"
# The process holds the lock of this file. No other folder has a file of that name.
_LOCK = "mlx-notebook-server.lock"


@contextmanager
def run_folder() -> Iterator[Path]:
    """Create a folder for the block, and delete the folders of processes that have ended."""
    place = Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try_lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(place: Path) -> None:
    """Delete the folders of this user whose processes were killed."""
    for lock in place.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            if lock.parent.is_symlink() or lock.parent.lstat().st_uid != os.geteuid():
                continue
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # another server deletes it at this moment
        try:
            if try_lock(descriptor):
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(descriptor)
