"""Locks between servers that share a folder, as two that one user runs share a data directory."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 10.0
_PAUSE = 0.005
# Some network file systems have no locks.
_WITHOUT = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def locked(file: Path, seconds: float = _SECONDS) -> Iterator[None]:
    """Hold the lock that a file stands for; the file is made where it is not.

    It blocks its thread. A process that ends, however it ends, lets its locks go. Where the file
    system has no locks, it holds none.

    Raises:
        TimeoutError: Another process held it for `seconds`.
        OSError: The file cannot be made.
    """
    number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while not taken(number):
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, "another server holds its lock", str(file))
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(number)


def taken(number: int) -> bool:
    """Take the lock of an open file unless someone else has it; return whether it is ours."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise
    return True
