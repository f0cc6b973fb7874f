"""A folder for as long as a process runs, and an end for those that killed processes left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_notebook.server.file_lock import taken

_PREFIX = "mlx-notebook-"
# Its process holds its lock; no other folder has a file of that name.
_LOCK = "mlx-notebook-server.lock"


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make a folder that goes with this process, and sweep those whose processes have gone."""
    place = Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        taken(number)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(number)


def _sweep(place: Path) -> None:
    """Remove this user's folders of servers that were killed."""
    for lock in place.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            if lock.parent.is_symlink() or lock.parent.lstat().st_uid != os.geteuid():
                continue
            number = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # another server sweeps it too
        try:
            if taken(number):
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(number)
