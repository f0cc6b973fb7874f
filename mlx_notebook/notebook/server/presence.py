"""Tell the server that this kernel is still running, so that it keeps the kernel's models loaded.

A thread sends a message every few minutes. It ends when the server no longer keeps a model for this
kernel, an hour after the last use. The next use starts it again.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.errors import NotebookError

log = logging.getLogger(__name__)

HEADERS = {"X-Mlx-Notebook-Kernel": secrets.token_hex(16)}
"""The header that identifies this kernel in its requests."""

KEEP = "mlx/models/keep"
# The server must have received the request before it can say which models it keeps.
_FIRST_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0

_lock = threading.Lock()
_announced: set[str] = set()


def announce(url: str, post: Callable[..., Any]) -> None:
    """Note that this kernel uses a model of the server at `url`.

    Parameters
    ----------
    url
        The server's base URL.
    post
        The server's `Server.post`.
    """
    with _lock:
        if url in _announced:
            return
        _announced.add(url)
    threading.Thread(
        target=_stay, args=(url, post), name="mlx-notebook-presence", daemon=True
    ).start()


def _stay(url: str, post: Callable[..., Any]) -> None:
    """Send messages until the server keeps no model for this kernel."""
    seconds = _FIRST_SECONDS
    try:
        while True:
            threading.Event().wait(seconds)
            kept = post(KEEP, {}, timeout=_TIMEOUT_SECONDS)
            if not kept["models"]:
                return
            seconds = kept["again_seconds"]
    except NotebookError as error:
        log.info("The server no longer keeps this kernel's models in memory: %s", error)
    finally:
        with _lock:
            _announced.discard(url)
