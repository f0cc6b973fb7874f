"""Remember the model that was used last, also after a restart of the server."""

import asyncio
from logging import Logger
from pathlib import Path

from mlx_notebook.server.models.model_settings import write_privately

_LONGEST_NAME = 1024


class LastModel:
    """Keep the name in a file, or in memory only if the file cannot be written."""

    def __init__(self, file: Path, log: Logger) -> None:
        self._file = file
        self._log = log
        self._name: str | None = None
        self._is_read = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str | None:
        """Name of the model that was used last, if any."""
        if not self._is_read:
            self._is_read = True
            try:
                self._name = self._file.read_text(encoding="utf-8")[:_LONGEST_NAME].strip() or None
            except (OSError, UnicodeDecodeError):
                self._name = None  # first start, or not a file of ours
        return self._name

    def note(self, name: str) -> None:
        """Remember a name. A thread writes the file."""
        if name == self.name:
            return
        self._name = name
        task = asyncio.create_task(self._write())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        try:
            await asyncio.to_thread(write_privately, self._file, (self._name or "").encode())
        except OSError as error:
            self._log.warning("The name of the last used model could not be saved: %s", error)
