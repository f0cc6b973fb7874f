"""Find the server for this kernel, or start one."""

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

# JupyterHub's configuration sets it for all notebook servers.
SERVICE_VARIABLE = "MLX_NOTEBOOK_SERVICE_URL"

# In seconds. The server that started this kernel may be busy, so it gets more time than others.
PARENT_SECONDS = 10.0
OTHER_SECONDS = 3.0

_lock = threading.RLock()
_given: tuple[str, str] | None = None
_current: Server | None = None
_private: PrivateServer | None = None
_status: dict[str, Any] = {}


def connect(url: str | None = None, token: str | None = None) -> Server:
    """Return the server of this kernel. Look for a new one if the last one has stopped.

    The order: the arguments; `MLX_NOTEBOOK_URL` and `MLX_NOTEBOOK_TOKEN`; JupyterHub's service
    (`MLX_NOTEBOOK_SERVICE_URL`) and no other; the Jupyter server that started this kernel;
    JupyterHub's variables; the user's other running Jupyter servers; a private server that ends
    with this kernel. A server counts if it answers on `mlx/status`. While
    `%mlx replay` answers from a recording, no server is needed.

    Parameters
    ----------
    url
        Base URL of the server to use from now on, with or without `/v1`. The address that Jupyter
        prints, `http://HOST/lab?token=...`, contains the token too.
    token
        Jupyter's token for that server.

    Returns
    -------
    Server
        Its address and how it was found.

    Raises
    ------
    NoServer
        If there is none and none can be started.
    NotAuthorized
        If the server that is named explicitly refuses the token.
    ServerUnreachable
        If the server that is named explicitly does not answer.
    ServerSilent
        If the server in use, or the Jupyter server that started this kernel, does not answer in
        time. No other one is started then.

    Examples
    --------
    >>> mlx_notebook.connect("http://localhost:1234", token="...")
    """
    global _current, _given
    with _lock:
        if url is not None:
            _given = (url, token if token is not None else os.environ.get(TOKEN_VARIABLE, ""))
            _current = None
        run = active_run.current()
        return _connected() if run is None else run.server(_connected, notebook_model.name)


def disconnect() -> None:
    """Forget the server, and stop it if it is private to this kernel."""
    global _current, _given, _private, _status
    with _lock:
        _current = _given = None
        _status = {}
        notebook_model.forget()
        if _private is not None:
            _private.stop()
            _private = None


def server_in_use() -> Server | None:
    """Return this kernel's server as it was last found, without a request; `None` before.

    The JupyterLab extension asks for it, to say when a notebook uses another server than the page.
    """
    return _current


def default_model() -> str | None:
    """Return the notebook's model, which answers where none is named.

    It sends no request: it is the server's default model at the time of the connection, or the one
    that was chosen since; `None` before. During a replay it is the model of the recorded run.
    """
    run = active_run.current()
    return run.default_model if isinstance(run, Replayer) else notebook_model.name()


def choose_model(name: str) -> None:
    """Change the notebook's model."""
    run = active_run.current()
    if isinstance(run, Replayer):
        run.choose_model(name)
    else:
        notebook_model.choose(name)


def _connected() -> Server:
    global _current
    if _current is None or not _is_alive(_current):
        _current = None
        _current = _find() or _start()
        notebook_model.use_server(_current, _status.get("default_model"))
    return _current


def _is_alive(server: Server) -> bool:
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
    """Send a request to `mlx/status`.

    Raises
    ------
    NotebookError
        If the server does not answer, or is not an mlx-notebook server.
    """
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
    if (service := _hub_service()) is not None:
        return service
    for server in _parent_servers():
        try:
            _probe(server, PARENT_SECONDS)
        except ServerSilent:
            raise
        except NotebookError:
            continue  # stopped, without our extension, or with another token
        return server
    for server in _other_servers():
        try:
            _probe(server, OTHER_SECONDS)
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


def _hub_service() -> Server | None:
    """Return the service of the JupyterHub that started this kernel's server, if it has one.

    If the service does not answer, there is no other server: a class on one machine has no memory
    for an engine of each kernel.
    """
    url = os.environ.get(SERVICE_VARIABLE)
    if not url:
        return None
    try:
        address = normalise_url(url)
    except ValueError as error:
        raise NoServer(f"{SERVICE_VARIABLE}: {error}.") from None
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    server = Server(address, token, "the service of this JupyterHub")
    _probe(server, PARENT_SECONDS)
    return server


def _parent_servers() -> Iterator[Server]:
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


def _other_servers() -> Iterator[Server]:
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


def _start() -> Server:
    global _private
    if _private is not None:
        _private.stop()
        _private = None
    _private = PrivateServer()
    _probe(_private.server, PARENT_SECONDS)
    return _private.server
