"""Know which of the servers that share a data directory still run."""

import os
import secrets
from pathlib import Path

from mlx_notebook.server.storage.file_lock import try_lock

_PATTERN = "batches-{}.lock"


class BatchHolder:
    """The name of this server, and a lock file that it holds while it runs.

    Parameters
    ----------
    folder
        Folder of the lock files.

    Attributes
    ----------
    name
        The name of this server.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = secrets.token_hex(8)
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Hold the lock file until `release`, or until the process ends.

        Raises
        ------
        OSError
            If the file cannot be created.
        """
        if self._descriptor is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file, flags = self._file(self.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        while self._descriptor is None:
            descriptor = os.open(file, flags, 0o600)
            # Another server may have removed it before it was locked.
            if try_lock(descriptor) and file.exists():
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        for other in self._folder.glob(_PATTERN.format("*")):
            self.is_gone(other.stem.removeprefix(_PATTERN.partition("{")[0]))

    def release(self) -> None:
        """Give the lock file back."""
        if self._descriptor is not None:
            self._file(self.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def is_gone(self, name: str) -> bool:
        """Whether the server with this name runs no more. Remove its lock file then."""
        if name == self.name:
            return False
        file = self._file(name)
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            if not try_lock(descriptor):
                return False
            file.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def _file(self, name: str) -> Path:
        return self._folder / _PATTERN.format(name)
