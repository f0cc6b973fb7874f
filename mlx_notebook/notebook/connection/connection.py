"""Find the server that this kernel should use, or start one."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.connection.private_server import PrivateServer
from mlx_notebook.notebook.errors import (
    NoServer,
    NotAuthorized,
    NotebookError,
    RequestRefused,
    ServerSilent,
    ServerUnreachable,
)
from mlx_notebook.notebook.recording import active_run
from mlx_notebook.notebook.recording.replayer import Replayer
from mlx_notebook.notebook.server import notebook_model
from mlx_notebook.notebook.server.server import Server, normalise_url, split_token

URL_VARIABLE = "MLX_NOTEBOOK_URL"
TOKEN_VARIABLE = "MLX_NOTEBOOK_TOKEN"  # noqa: S105 - a variable's name

# The parent server may be busy with kernels of its own; a stranger gets less patience.
PARENT_SECONDS = 10.0
STRANGER_SECONDS = 3.0

_lock = threading.RLock()
_given: tuple[str, str] | None = None
_current: Server | None = None
_private: PrivateServer | None = None
_status: dict[str, Any] = {}


def connect(url: str | None = None, token: str | None = None) -> Server:
    """Give the server of this kernel, looking for it again where the last one is gone.

    The order: the arguments; `MLX_NOTEBOOK_URL` and `MLX_NOTEBOOK_TOKEN`; the Jupyter server that
    started this kernel; JupyterHub's variables; the user's other running Jupyter servers; a
    private server that ends with this kernel. A server counts when it answers on our own route.
    While a recorded run is replayed (`%mlx replay`), none is looked for.

    Parameters
    ----------
    url, token
        Base URL (with or without `/v1`) and Jupyter token of a server to use from now on. The
        address that Jupyter prints, `http://HOST/lab?token=...`, is both.

    Raises
    ------
    NotebookError
        `NoServer` if there is none; `NotAuthorized` or `ServerUnreachable` if the one that is
        named explicitly cannot be used; `ServerSilent` if the one in use, or the Jupyter server
        above this kernel, is there and does not answer: another beside it would help nobody.
    """
    global _current, _given
    with _lock:
        if url is not None:
            _given = (url, token if token is not None else os.environ.get(TOKEN_VARIABLE, ""))
            _current = None
        run = active_run.current()
        return _present() if run is None else run.server(_present, notebook_model.name)


def disconnect() -> None:
    """Forget the server; end it if it is this kernel's own."""
    global _current, _given, _private, _status
    with _lock:
        _current = _given = None
        _status = {}
        notebook_model.forget()
        if _private is not None:
            _private.stop()
            _private = None


def default_model() -> str | None:
    """Name of the model that answers in this notebook where none is named.

    Asks nobody: it is what the notebook was told when it connected, or has chosen since; `None`
    before that. While a recorded run is replayed it is the model of that run.
    """
    run = active_run.current()
    return run.default_model if isinstance(run, Replayer) else notebook_model.name()


def choose_model(name: str) -> None:
    """Let a model answer in this notebook wherever none is named, from now on."""
    run = active_run.current()
    if isinstance(run, Replayer):
        run.choose_model(name)
    else:
        notebook_model.choose(name)


def _present() -> Server:
    global _current
    if _current is None or not _answers(_current):
        _current = None
        _current = _find() or _start()
        notebook_model.use_server(_current, _status.get("default_model"))
    return _current


def _answers(server: Server) -> bool:
    if _private is not None and server is _private.server and not _private.alive:
        return False
    try:
        _probe(server, PARENT_SECONDS)
    except ServerSilent:
        raise
    except NotebookError:
        return False
    return True


def _probe(server: Server, timeout: float) -> None:
    """Ask our own route. Raises `NotebookError` where it does not answer as ours."""
    global _status
    _status = server.get("mlx/status", timeout=timeout)
    if not isinstance(_status, dict):
        _status = {}
        raise ServerUnreachable(f"{server.url} is not an mlx-notebook server.")


def _find() -> Server | None:
    if _given is not None:
        return _explicit(*_given, "given")
    if url := os.environ.get(URL_VARIABLE):
        return _explicit(url, os.environ.get(TOKEN_VARIABLE, ""), f"named by {URL_VARIABLE}")
    for server in _above():
        try:
            _probe(server, PARENT_SECONDS)
        except ServerSilent:
            raise
        except NotebookError:
            continue  # gone, without our extension, or closed to this token
        return server
    for server in _others():
        try:
            _probe(server, STRANGER_SECONDS)
        except NotebookError:
            continue
        return server
    return None


def _explicit(url: str, token: str, found: str) -> Server:
    try:
        url, token_in_url = split_token(url)
        server = Server(normalise_url(url), token_in_url or token, found)
    except ValueError as error:
        raise NoServer(f"{error}.") from None
    try:
        _probe(server, PARENT_SECONDS)
    except NotAuthorized as error:
        raise NotAuthorized(f"{error} Is {TOKEN_VARIABLE} the token of {server.url}?") from None
    except RequestRefused:
        raise NoServer(
            f"The server at {server.url} does not have mlx-notebook: install it there, or "
            "enable it with `jupyter server extension enable mlx_notebook`."
        ) from None
    return server


def _above() -> Iterator[Server]:
    """The Jupyter server that started this kernel, by its runtime file and by its hub."""
    hub_token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if parent := os.environ.get("JPY_PARENT_PID", ""):
        info = _read(_runtime_dir() / f"jpserver-{parent}.json")
        if info is not None:
            yield from _servers(info, "this Jupyter server", hub_token)
    service, prefix = (os.environ.get(f"JUPYTERHUB_SERVICE_{x}", "") for x in ("URL", "PREFIX"))
    if service and hub_token:
        try:
            address = normalise_url(service)
        except ValueError:
            return
        # The service's URL holds where it listens; some hubs give it without the prefix.
        if prefix and not address.endswith(prefix.strip("/") + "/"):
            address = address.rstrip("/") + "/" + prefix.strip("/") + "/"
        yield Server(address, hub_token, "this JupyterHub server")


def _others() -> Iterator[Server]:
    """The user's running Jupyter servers, the latest first."""
    files = _runtime_dir().glob("jpserver-*.json")
    for file in sorted(files, key=_started, reverse=True):
        info = _read(file)
        if info is not None and _runs(info.get("pid")):
            yield from _servers(info, "a running Jupyter server", "")


def _servers(info: dict[str, Any], found: str, hub_token: str) -> Iterator[Server]:
    """What a runtime file names, where a kernel can use it.

    A server that listens on a Unix socket only is passed over, and so is one without a token:
    Jupyter refuses every POST that carries none.
    """
    # Below a hub the file has no token: the hub's own opens the server.
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
        return None  # gone, another user's, or half written
    return info if isinstance(info, dict) else None


def _started(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _runs(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _start() -> Server:
    global _private
    if _private is not None:
        _private.stop()
        _private = None
    _private = PrivateServer()
    _probe(_private.server, PARENT_SECONDS)
    return _private.server
