"""Keep the keys of upstreams: read from the environment or a file, and shown nowhere."""

import os
import stat
from collections.abc import Mapping, MutableMapping
from logging import Logger
from pathlib import Path

from mlx_notebook.server.errors import UpstreamError
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings

_LONGEST_KEY = 16 * 1024
# Shorter values are not secret, and would replace parts of words.
_SHORTEST_SECRET = 6
HIDDEN = "[hidden]"


class UpstreamKey:
    """The key of one upstream.

    Parameters
    ----------
    name
        Name of the upstream.
    settings
        Its settings.
    from_environment
        The key, if it comes from an environment variable that is set.
    """

    def __init__(
        self, name: str, settings: UpstreamSettings, from_environment: str | None = None
    ) -> None:
        self._name = name
        self._settings = settings
        self._key = from_environment

    def __repr__(self) -> str:
        return f"UpstreamKey({self._name!r})"

    def read(self) -> str | None:
        """Return the key, None if the upstream needs none. A file is read each time: it may change.

        Raises
        ------
        UpstreamError
            If there should be a key, and there is none.
        """
        settings = self._settings
        if settings.key_env is not None:
            if not self._key:
                raise self._missing(f"the environment variable {settings.key_env} is not set")
        elif settings.key_file is not None:
            try:
                with Path(settings.key_file).expanduser().open("rb") as file:
                    self._key = file.read(_LONGEST_KEY).decode().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise self._missing(f"the file {settings.key_file} cannot be read: {reason}") from (
                    None
                )
            if not self._key:
                raise self._missing(f"the file {settings.key_file} is empty")
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise self._missing("it has characters that no header may have")
        return self._key

    def headers(self) -> dict[str, str]:
        """Return the headers of a request: the key, and those of the settings.

        Raises
        ------
        UpstreamError
            If there should be a key, and there is none.
        """
        key, given = self.read(), dict(self._settings.headers)
        if key is None:
            return given
        if self._settings.key_header:
            return {**given, self._settings.key_header: key}
        return {**given, "Authorization": f"Bearer {key}"}

    def hide(self, text: str) -> str:
        """Return a text of the upstream without the key and the values of configured headers."""
        for secret in (self._key or "", *self._settings.headers.values()):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, HIDDEN)
        return text

    def _missing(self, why: str) -> UpstreamError:
        return UpstreamError(
            f"The upstream {self._name!r} cannot be used without its key: {why}.",
            status=503,
            param="model",
            code="upstream_key_missing",
            headers={"x-should-retry": "false"},
        )


def take_keys(
    upstreams: Mapping[str, UpstreamSettings], environ: MutableMapping[str, str], log: Logger
) -> dict[str, UpstreamKey]:
    """Return the keys of all upstreams, and remove their variables from the environment.

    Otherwise each kernel and terminal that the server starts would inherit them.
    """
    keys = {
        name: UpstreamKey(name, settings, environ.get(settings.key_env or ""))
        for name, settings in upstreams.items()
    }
    for settings in upstreams.values():
        environ.pop(settings.key_env or "", None)
    for name, settings in upstreams.items():
        _warn(name, settings, keys[name], log)
    return keys


def _warn(name: str, settings: UpstreamSettings, key: UpstreamKey, log: Logger) -> None:
    """Warn of a key that is missing, or that others can read."""
    try:
        has_key = key.read() is not None
    except UpstreamError as error:
        log.warning("%s", error.message)
        return
    if has_key and settings.url.startswith("http:") and not settings.is_local:
        log.warning("The key of the upstream %r travels unencrypted: its url is http.", name)
    if settings.key_file is not None and os.name == "posix":
        mode = os.stat(Path(settings.key_file).expanduser()).st_mode
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            log.warning(
                "Other users of this machine can read %s, the key of the upstream %r: chmod 600.",
                settings.key_file,
                name,
            )
