"""Lock files between servers that share a folder, for example Jupyter's data directory."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 10.0
_PAUSE = 0.005
# Errors of file systems without locks, as some network file systems.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def locked(file: Path, seconds: float = _SECONDS) -> Iterator[None]:
    """Hold the lock of a file during the block. Create the file if need be.

    This blocks the thread. The system releases the locks of a process that ends. On a file system
    without locks this does nothing.

    Raises
    ------
    TimeoutError
        If another process holds the lock for `seconds`.
    OSError
        If the file cannot be created.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while not try_lock(descriptor):
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, "another server holds its lock", str(file))
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Try to lock an open file. Return False if another process has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
