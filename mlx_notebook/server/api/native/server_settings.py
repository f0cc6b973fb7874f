"""Handle `mlx/settings`: the settings of the server that may be changed while it runs."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import ApiError, Forbidden, InvalidRequest
from mlx_notebook.server.models.completion_model import completion_model
from mlx_notebook.server.models.settings.changeable_settings import NAMES
from mlx_notebook.server.wire.native import settings_types as wire

# Paths of the server's machine are nobody's business but its admins'.
_PRIVATE = frozenset({"models_dirs"})
_ADMINS_ONLY = "Only an admin of this server may change its settings."


class ServerSettingsHandler(ApiHandler):
    """Show and change settings of the server."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the settings, and which of them the caller may change."""
        self._show()

    @web.authenticated
    @authorized
    async def patch(self) -> None:
        """Change some settings, for now and for the next start. Answer with all of them."""
        if not self.user.admin:
            raise Forbidden(_ADMINS_ONLY, code="setting_not_allowed")
        changes = self.decoded(wire.DECODER).as_dict()
        settings, catalog = self.services.changeable, self.services.catalog
        settings.check(changes)
        await self._check(changes)
        await settings.change(changes)
        await catalog.refresh()
        self.services.supervisor.notify()
        self._show()

    async def _check(self, values: dict[str, Any]) -> None:
        """Check what the traits cannot: whether the models and the folders are there.

        Raises
        ------
        ApiError
            If one of them is not. The error names the setting.
        """
        catalog, user = self.services.catalog, await self.settings_user()
        try:
            if name := values.get("default_model"):
                checked = "default_model"
                await catalog.find(name, user)
            if name := values.get("completion_model"):
                checked = "completion_model"
                await completion_model(catalog, name, user)
        except ApiError as error:
            error.param = checked
            raise
        folders = values.get("models_dirs") or []
        if (missing := await asyncio.to_thread(_first_missing, folders)) is not None:
            raise InvalidRequest(
                f"There is no folder {missing!r} on the server's machine.", param="models_dirs"
            )

    def _show(self) -> None:
        settings = self.services.changeable
        shown = []
        for name in NAMES:
            obstacle = settings.obstacle(name) if self.user.admin else _ADMINS_ONLY
            is_shown = self.user.admin or name not in _PRIVATE
            shown.append(
                wire.ServerSetting(
                    name=name,
                    value=settings.value(name) if is_shown else None,
                    default=settings.default(name),
                    description=settings.description(name),
                    changeable=obstacle is None,
                    obstacle=obstacle,
                )
            )
        self.answer(wire.ServerSettings(shown))


def _first_missing(folders: Iterable[str]) -> str | None:
    """Return the first that is no folder of this machine; None if all are."""
    return next((each for each in folders if not os.path.isdir(Path(each).expanduser())), None)
