"""The model of this notebook: it answers wherever a cell, a chat or a panel names none.

It is the server's default model when the notebook connects, and stays the same until this notebook
chooses another one: what other users of the server load or ask changes nothing here.
"""

import threading
from urllib.parse import quote

from mlx_notebook.notebook.errors import ModelNotFound, NotebookError
from mlx_notebook.notebook.server.server import Server

_lock = threading.Lock()
_name: str | None = None
_url = ""
# Why the model changed though nobody in the notebook asked for it; and whether a cell has said so.
_change = ""
_is_told = True


def name() -> str | None:
    """Give the model's name; `None` before the notebook has connected to a server."""
    return _name


def choose(model: str) -> None:
    """Let a model answer from now on, as `%mlx load` does."""
    global _name, _change, _is_told
    with _lock:
        _name, _change, _is_told = model, "", True


def use_server(server: Server, default: str | None) -> None:
    """Take a server's default model, unless this notebook has a model that the server has, too.

    Asks the server only where it is another one than before.
    """
    global _name, _url, _change, _is_told
    with _lock:
        if _name is None:
            _name = default
        elif server.url != _url and _name != default and not _has(server, _name):
            _change, _is_told = f"{server.url} has no model {_name}.", False
            if default is not None:
                _change += f" {default} answers from now on."
            _name = default
        _url = server.url


def change() -> str:
    """Give the sentence that tells why another model answers though nobody here chose it."""
    return _change


def notice() -> str:
    """Give that sentence for a cell, once; empty where no cell need say it."""
    global _is_told
    with _lock:
        said, _is_told = "" if _is_told else f"mlx_notebook: {_change}", True
        return said


def forget() -> None:
    """Have no model: the next server that is connected to gives its default one."""
    global _name, _url, _change, _is_told
    with _lock:
        _name, _url, _change, _is_told = None, "", "", True


def _has(server: Server, model: str) -> bool:
    try:
        server.get(f"v1/models/{quote(model)}")
    except ModelNotFound:
        return False
    except NotebookError:
        return True  # whatever is wrong, the request that follows will say it
    return True
