"""The notebook's model: it answers when a cell, a chat or a panel names none.

It is the server's default model when the notebook connects. It stays the same until this notebook
chooses another one: what other users of the server load or ask changes nothing.
"""

import threading
from urllib.parse import quote

from mlx_notebook.notebook.errors import ModelNotFound, NotebookError
from mlx_notebook.notebook.server.server import Server

_lock = threading.Lock()
_name: str | None = None
_url = ""
# Why the model changed although nobody in the notebook chose it, and whether a cell has said so.
_change = ""
_is_shown = True


def name() -> str | None:
    """Return the model's name; `None` before the notebook has connected to a server."""
    return _name


def choose(model: str) -> None:
    """Change the model, as `%mlx load` does."""
    global _name, _change, _is_shown
    with _lock:
        _name, _change, _is_shown = model, "", True


def use_server(server: Server, default: str | None) -> None:
    """Take a server's default model, unless the server has the notebook's model too.

    It sends a request only if the server is another one than before.
    """
    global _name, _url, _change, _is_shown
    with _lock:
        if _name is None:
            _name = default
        elif server.url != _url and _name != default and not _has(server, _name):
            _change, _is_shown = f"{server.url} has no model {_name}.", False
            if default is not None:
                _change += f" {default} answers from now on."
            _name = default
        _url = server.url


def change_message() -> str:
    """Return why another model answers although nobody here chose it; empty if none does."""
    return _change


def take_notice() -> str:
    """Return the same message for a cell, once; empty after that."""
    global _is_shown
    with _lock:
        message, _is_shown = "" if _is_shown else f"mlx_notebook: {_change}", True
        return message


def forget() -> None:
    """Forget the model. The next server gives its default model."""
    global _name, _url, _change, _is_shown
    with _lock:
        _name, _url, _change, _is_shown = None, "", "", True


def _has(server: Server, model: str) -> bool:
    try:
        server.get(f"v1/models/{quote(model)}")
    except ModelNotFound:
        return False
    except NotebookError:
        return True  # the next request will report what is wrong
    return True
