"""Find the server for this kernel, or start one."""

import os
import threading
import time
from typing import Any

from mlx_notebook.notebook.connection import known_servers
from mlx_notebook.notebook.connection.jupyter_servers import other_servers, parent_servers
from mlx_notebook.notebook.connection.named_server import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    find_by_name,
    stored_token,
)
from mlx_notebook.notebook.connection.private_server import PrivateServer
from mlx_notebook.notebook.connection.recognition import tunnel
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
from mlx_notebook.notebook.server import notebook_model, transport
from mlx_notebook.notebook.server.server import Server, normalise_url, split_token

# JupyterHub's configuration sets it for all notebook servers.
SERVICE_VARIABLE = "MLX_NOTEBOOK_SERVICE_URL"

# In seconds. A server may be busy, or be starting: to wait for it is better than to start an engine
# for this kernel alone. The user's other servers share their time, but each gets a second.
PARENT_SECONDS = 10.0
OTHER_SECONDS, _LEAST_SECONDS = 10.0, 1.0
# A server that the user named is asked for its state at most this often. Each question takes a
# round trip, and there is no other server to look for.
_RECENT_SECONDS = 10.0

_lock = threading.RLock()
# Address, token and how it was found.
_given: tuple[str, str, str] | None = None
_uses_default = True
_seen = 0.0
_current: Server | None = None
_private: PrivateServer | None = None
_status: dict[str, Any] = {}


def connect(
    url: str | None = None, token: str | None = None, *, allow_http: bool = False
) -> Server:
    """Return the server of this kernel. Look for a new one if the last one has stopped.

    The first of these is taken: the arguments; `MLX_NOTEBOOK_URL` and `MLX_NOTEBOOK_TOKEN`; the
    default of `%mlx connect --default`; the JupyterHub service in `MLX_NOTEBOOK_SERVICE_URL`; the
    Jupyter server of this kernel; JupyterHub's variables; another running Jupyter server of the
    user; a private server that ends with this kernel. A server counts if it answers on
    `mlx/status`. If one of the first four is there, no other is tried. While `%mlx replay` answers
    from a recording, no server is needed.

    Parameters
    ----------
    url
        Base URL of the server to use from now on, with or without `/v1`. The address that Jupyter
        prints, `http://HOST/lab?token=...`, contains the token too. Or the name of a server that
        `%mlx connect` lists.
    token
        Jupyter's token for that server. By default that of `MLX_NOTEBOOK_TOKEN`, or the one that
        `%mlx connect` has stored.
    allow_http
        Whether to connect to another machine without encryption, where others on the network can
        read the token and all texts.

    Returns
    -------
    Server
        Its address and how it was found.

    Raises
    ------
    ValueError
        If that would be so and `allow_http` is false.
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
            found = find_by_name(url, token)
            if not allow_http:
                _check_encryption(Server(*found))
            _given, _current = found, None
        run = active_run.current()
        return _connected() if run is None else run.server(_connected, notebook_model.name)


def _check_encryption(server: Server) -> None:
    try:
        is_in_the_clear = server.is_in_the_clear
    except ValueError:
        return  # no address: whoever uses it says so
    known = known_servers.read().find(server.url)
    if is_in_the_clear and not (known is not None and known.allow_http):
        raise ValueError(
            f"{server.url} has no encryption, so others on the network could read the token and "
            f"all texts. Use https://, or a tunnel: {tunnel(server.url)} `allow_http=True` "
            "connects nevertheless."
        )


def use(server: Server) -> None:
    """Use a server from now on that has answered `check`."""
    global _given, _current
    with _lock:
        _given = (server.url, server.token, server.found)
        _current = None
        _connected()


def use_local() -> None:
    """Look for a server of this machine from now on, whatever the user's default is."""
    global _given, _current, _uses_default
    with _lock:
        _given = _current = None
        _uses_default = False


def check(server: Server) -> None:
    """Send a request with the server's token.

    Raises
    ------
    NotAuthorized
        If the server refuses the token.
    NotebookError
        If it does not answer, or is not an mlx-notebook server.
    """
    _status_of(server, PARENT_SECONDS)


def silent_seconds() -> float:
    """Return after how much silence a stream of the server counts as broken, in seconds.

    The server says how often it sends a sign of life.
    """
    every = _status.get("keep_alive_seconds")
    known = every if isinstance(every, int | float) else 0.0
    return max(transport.SILENT_SECONDS, 3 * known)


def disconnect() -> None:
    """Forget the server, and stop it if it is private to this kernel."""
    global _current, _given, _private, _status, _uses_default
    with _lock:
        _current = _given = None
        _uses_default = True
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
    if _current is None or not (_is_recent(_current) or _is_alive(_current)):
        _current = None
        _current = _find() or _start()
        notebook_model.use_server(_current, _status.get("default_model"))
    return _current


def _is_recent(server: Server) -> bool:
    return server.is_chosen and time.monotonic() - _seen < _RECENT_SECONDS


def _is_alive(server: Server) -> bool:
    if _private is not None and server is _private.server and not _private.alive:
        return False
    try:
        _probe(server, PARENT_SECONDS)
    except ServerSilent:
        raise
    except ServerUnreachable:
        if server.is_chosen:
            raise  # it is at this address or nowhere
        return False
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
    global _status, _seen
    _status = {}
    _status = _status_of(server, timeout)
    _seen = time.monotonic()


def _status_of(server: Server, timeout: float) -> dict[str, Any]:
    status = server.get("mlx/status", timeout=timeout)
    if not isinstance(status, dict):
        raise ServerUnreachable(f"{server.url} is not an mlx-notebook server.")
    return status


def _find() -> Server | None:
    if _given is not None:
        return _explicit(*_given)
    if url := os.environ.get(URL_VARIABLE):
        return _explicit(url, os.environ.get(TOKEN_VARIABLE, ""), f"named by {URL_VARIABLE}")
    if _uses_default and (default := known_servers.read().default) is not None:
        found = f"{default.name}, your default"
        return _explicit(default.url, stored_token(default), found)
    if (service := _hub_service()) is not None:
        return service
    for server in parent_servers():
        try:
            _probe(server, PARENT_SECONDS)
        except ServerSilent:
            raise
        except NotebookError:
            continue  # stopped, without our extension, or with another token
        return server
    until = time.monotonic() + OTHER_SECONDS
    for server in other_servers():
        try:
            _probe(server, max(_LEAST_SECONDS, until - time.monotonic()))
        except NotebookError:
            continue
        return server
    return None


def _explicit(url: str, token: str, found: str) -> Server:
    try:
        url, token_in_url = split_token(url)
        server = Server(normalise_url(url), token_in_url or token, found, is_chosen=True)
    except ValueError as error:
        raise NoServer(f"{error}.") from None
    try:
        _probe(server, PARENT_SECONDS)
    except NotAuthorized as error:
        if token and token == os.environ.get(TOKEN_VARIABLE):
            raise NotAuthorized(f"{error} Is {TOKEN_VARIABLE} the token of {server.url}?") from None
        if "asks for a login" in str(error):
            raise
        refused = "refused the token" if server.token else "needs a token"
        raise NotAuthorized(
            f"The server at {server.url} {refused}: `%mlx connect {server.url}` asks for it."
        ) from None
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
    server = Server(address, token, "the service of this JupyterHub", is_chosen=True)
    _probe(server, PARENT_SECONDS)
    return server


def _start() -> Server:
    global _private
    if _private is not None:
        _private.stop()
        _private = None
    _private = PrivateServer()
    _probe(_private.server, PARENT_SECONDS)
    return _private.server
