"""Remember the model that each user has used last, also after a restart of the server."""

import asyncio
from collections import OrderedDict
from logging import Logger
from pathlib import Path

import msgspec

from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.models.settings.model_settings import write_privately

_LONGEST_NAME = 1024
# Users that are remembered: those who have used a model most recently.
_MAX_USERS = 1000
_NAMES = msgspec.json.Decoder(dict[str, str])


class LastModel:
    """Keep the names in files, or in memory only if the files cannot be written.

    Parameters
    ----------
    file
        File for the name of the owner's model. Those of other users are in a JSON file beside it.
    log
        Logger for a file that cannot be written.
    """

    def __init__(self, file: Path, log: Logger) -> None:
        self._file = file
        self._users_file = file.with_name("last_models.json")
        self._log = log
        self._names: OrderedDict[str, str] | None = None
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def name(self, user: str = OWNER) -> str | None:
        """Return the name of the model that a user has used last, if any."""
        return self._known().get(user)

    def note(self, name: str, user: str = OWNER) -> None:
        """Remember a name. A thread writes the file."""
        names = self._known()
        if name == names.get(user):
            return
        names[user] = name[:_LONGEST_NAME]
        names.move_to_end(user)
        while len(names) > _MAX_USERS:
            names.popitem(last=False)
        task = asyncio.create_task(self._write(user))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _known(self) -> OrderedDict[str, str]:
        if self._names is None:
            self._names = OrderedDict()
            # A file that is missing or not ours is the same as none.
            try:
                self._names.update(_NAMES.decode(self._users_file.read_bytes()))
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                self._names.clear()
            try:
                own = self._file.read_text(encoding="utf-8")[:_LONGEST_NAME].strip()
            except (OSError, UnicodeDecodeError):
                own = ""
            if own:
                self._names[OWNER] = own
        return self._names

    async def _write(self, user: str) -> None:
        try:
            # One after the other, so that the last one has the names of all.
            async with self._writing:
                names = self._known()
                if user == OWNER:
                    file, content = self._file, names.get(OWNER, "").encode()
                else:
                    others = {each: name for each, name in names.items() if each != OWNER}
                    file, content = self._users_file, msgspec.json.encode(others)
                await asyncio.to_thread(write_privately, file, content)
        except OSError as error:
            self._log.warning("The name of the last used model could not be saved: %s", error)
