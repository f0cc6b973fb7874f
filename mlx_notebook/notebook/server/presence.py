"""Tells the server that this kernel is still there: the models that it used lately stay in memory.

A thread asks for them every few minutes, and ends when the server no longer keeps any for this
kernel (an hour after their last use). The next use starts it again.
"""

import logging
import secrets
import threading
from typing import TYPE_CHECKING

from mlx_notebook.notebook.errors import NotebookError

if TYPE_CHECKING:
    from mlx_notebook.notebook.server.server import Server

log = logging.getLogger(__name__)

HEADERS = {"X-Mlx-Notebook-Kernel": secrets.token_hex(16)}
"""What names this kernel in its requests."""

KEEP = "mlx/models/keep"
# The server shall have taken the request in before it is asked what it keeps.
_FIRST_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0

_lock = threading.Lock()
_present: set[str] = set()


def used(server: "Server") -> None:
    """Note that this kernel uses a model of `server`; it is told so for as long as it matters."""
    with _lock:
        if server.url in _present:
            return
        _present.add(server.url)
    threading.Thread(
        target=_stay, args=(server,), name="mlx-notebook-presence", daemon=True
    ).start()


def _stay(server: "Server") -> None:
    """Tell the server that this kernel is there, until that keeps no model."""
    from mlx_notebook.notebook.server.server import Server

    plain = Server(server.url, server.token)  # without a run that is recorded
    seconds = _FIRST_SECONDS
    try:
        while True:
            threading.Event().wait(seconds)
            kept = plain.post(KEEP, {}, timeout=_PATIENCE_SECONDS)
            if not kept["models"]:
                return
            seconds = kept["again_seconds"]
    except NotebookError as error:
        log.info("Models of this kernel are no longer kept in memory: %s", error)
    finally:
        with _lock:
            _present.discard(server.url)
