"""The model that was used last, remembered over restarts of the server."""

import asyncio
from logging import Logger
from pathlib import Path

from mlx_notebook.server.models.model_settings import write_privately

_LONGEST_NAME = 1024


class LastModel:
    """Remembers a name in a file; without the file it is remembered as long as the server runs."""

    def __init__(self, file: Path, log: Logger) -> None:
        self._file = file
        self._log = log
        self._name: str | None = None
        self._is_read = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str | None:
        """The model that was used last, if one was."""
        if not self._is_read:
            self._is_read = True
            try:
                self._name = self._file.read_text(encoding="utf-8")[:_LONGEST_NAME].strip() or None
            except (OSError, UnicodeDecodeError):
                self._name = None  # the first start, or a file that is not ours
        return self._name

    def note(self, name: str) -> None:
        """Remember a name; the file is written in a thread."""
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
            self._log.warning("The model used last is not remembered: %s", error)
