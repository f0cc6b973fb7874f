"""The user's running Jupyter servers, as Jupyter's runtime files and JupyterHub's variables say.

A running server has a file `jpserver-<pid>.json` in Jupyter's runtime folder.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.server.server import Server, normalise_url


def parent_servers() -> Iterator[Server]:
    """Yield the Jupyter server that started this kernel, by its runtime file and by JupyterHub."""
    hub_token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if parent := os.environ.get("JPY_PARENT_PID", ""):
        info = _read(_runtime_dir() / f"jpserver-{parent}.json")
        if info is not None:
            yield from _from_runtime_file(info, "this Jupyter server", hub_token)
    service, prefix = (os.environ.get(f"JUPYTERHUB_SERVICE_{x}", "") for x in ("URL", "PREFIX"))
    if service and hub_token:
        try:
            address = normalise_url(service)
        except ValueError:
            return
        # Some hubs leave the prefix out of the service's URL.
        if prefix and not address.endswith(prefix.strip("/") + "/"):
            address = address.rstrip("/") + "/" + prefix.strip("/") + "/"
        yield Server(address, hub_token, "this JupyterHub server")


def other_servers() -> Iterator[Server]:
    """Yield the user's running Jupyter servers, the latest first."""
    files = _runtime_dir().glob("jpserver-*.json")
    for file in sorted(files, key=_started, reverse=True):
        info = _read(file)
        if info is not None and _is_running(info.get("pid")):
            yield from _from_runtime_file(info, "a running Jupyter server", "")


def _from_runtime_file(info: dict[str, Any], found: str, hub_token: str) -> Iterator[Server]:
    """Yield the server of a runtime file, if a kernel can use it.

    A server that listens only on a Unix socket cannot be used, nor one without a token: Jupyter
    refuses every POST without one.
    """
    # Under JupyterHub the file has no token; the hub's token works.
    token = str(info.get("token") or hub_token)
    try:
        url = normalise_url(str(info.get("url", "")))
    except ValueError:
        return
    if token:
        yield Server(url, token, found)


def _runtime_dir() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def _read(file: Path) -> dict[str, Any] | None:
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # deleted, another user's, or incomplete
    return info if isinstance(info, dict) else None


def _started(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _is_running(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
