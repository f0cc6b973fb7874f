"""Change settings of the server while it runs, and keep the changes for its next start.

The traits of the app are the truth. What its configuration sets stays as it is.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import msgspec
from traitlets import HasTraits, TraitError

from mlx_notebook.model_files.model_folder import read_json
from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.models.settings.model_settings import not_saved, write_privately
from mlx_notebook.server.storage.file_lock import locked

NAMES = ("default_model", "completion_model", "models_dirs", "idle_unload_minutes")
"""The settings that may be changed."""


def fixed_settings(configured: Iterable[str], *, alone: bool) -> dict[str, str]:
    """Return the settings that cannot be changed while the server runs, and why.

    Parameters
    ----------
    configured
        Names that the configuration or the command line sets.
    alone
        Whether the server runs without kernels. Its token then opens models only, and lets nobody
        read files.
    """
    fixed = {
        name: "The server's configuration or command line sets it "
        f"(MlxNotebookApp.{name}): change it there."
        for name in configured
    }
    if alone:
        why = "Only the server's configuration or command line may set it: --models-dir FOLDER."
        fixed.setdefault("models_dirs", why)
    return fixed


class ChangeableSettings:
    """Hold the settings that an admin may change while the server runs.

    Parameters
    ----------
    traits
        The app, whose traits are the settings. It observes their changes.
    fixed
        Settings that cannot be changed here, and why, in one sentence each.
    file
        File for the changes, readable by its user only.
    log
        Logger for a file that cannot be used.
    """

    def __init__(
        self, traits: HasTraits, fixed: Mapping[str, str], file: Path, log: Logger
    ) -> None:
        self._traits, self._fixed, self._file, self._log = traits, dict(fixed), file, log
        self._writing = asyncio.Lock()

    def value(self, name: str) -> Any:
        """Return the present value of a setting."""
        return getattr(self._traits, name)

    def default(self, name: str) -> Any:
        """Return the value of a setting that nobody has set."""
        return self._traits.traits()[name].default()

    def description(self, name: str) -> str:
        """Return the help text of a setting on one line."""
        return " ".join(self._traits.traits()[name].help.split())

    def obstacle(self, name: str) -> str | None:
        """Return why a setting cannot be changed here; None if it can."""
        return self._fixed.get(name)

    def restore(self) -> None:
        """Apply the changes of earlier runs. One that is not valid any more is left out."""
        for name, value in self._read().items():
            if name not in NAMES or name in self._fixed:
                continue
            try:
                setattr(self._traits, name, value)
            except TraitError as error:
                self._log.warning("The setting %s in %s is not used: %s", name, self._file, error)

    def check(self, names: Collection[str]) -> None:
        """Check that settings can be changed here.

        Raises
        ------
        Forbidden
            If one of them cannot.
        """
        for name in names:
            if (obstacle := self.obstacle(name)) is not None:
                raise Forbidden(obstacle, param=name, code="setting_not_allowed")

    async def change(self, changes: Mapping[str, Any]) -> None:
        """Save changes and apply them. None sets a setting back to its default.

        The values are of the types of their traits.

        Raises
        ------
        Forbidden
            If one of the settings cannot be changed here.
        InsufficientStorage
            If the disk is full.
        Unavailable
            If the file cannot be written, or another server holds its lock.
        """
        self.check(changes)
        async with self._writing:
            try:
                await asyncio.to_thread(self._save, changes)
            except OSError as error:
                raise not_saved(error) from error
            for name, value in changes.items():
                setattr(self._traits, name, self.default(name) if value is None else value)

    def _save(self, changes: Mapping[str, Any]) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._file.with_suffix(".lock")):
            saved = {**self._read(), **changes}
            kept = {name: value for name, value in saved.items() if value is not None}
            write_privately(self._file, msgspec.json.encode(kept))

    def _read(self) -> dict[str, Any]:
        try:
            return dict(read_json(self._file, type=dict[str, Any]))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._log.warning("The settings in %s cannot be used: %s", self._file, error)
            return {}
