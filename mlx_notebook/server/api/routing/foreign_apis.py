"""Mount the APIs of other programs beside the server's own.

Jupyter owns the routes below `api/`, so such an API is at `mlx/<name>/` below the base URL. Clients
of the program add `api/...` to that address themselves. `jupyter mlx-notebook` has few of Jupyter's
routes, and offers the API at its root too, where these clients look for it.

This module imports no handlers, so that the extension loads quickly.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

# A pattern, its handler, and perhaps arguments of the handler.
Route = tuple[Any, ...]


class ForeignApi(NamedTuple):
    """The API of another program.

    Attributes
    ----------
    name
        Name of its folder below `mlx/`.
    at_root
        Pattern of the paths that it has at the root of `jupyter mlx-notebook`. It must match none
        of the paths that `closed_routes` leaves to Jupyter.
    load
        Import its routes. Their module must not import this one. The last route answers all other
        paths in the error format of the API. Its pattern does not match outside of `at_root`.
    """

    name: str
    at_root: str
    load: Callable[[], tuple[Route, ...]]


def _ollama() -> tuple[Route, ...]:
    from mlx_notebook.server.api.ollama.ollama_routes import OLLAMA_ROUTES

    return OLLAMA_ROUTES


def _lmstudio() -> tuple[Route, ...]:
    from mlx_notebook.server.api.lmstudio.lmstudio_routes import LMSTUDIO_ROUTES

    return LMSTUDIO_ROUTES


# At the root the first pattern that matches counts: that of Ollama's last route matches all paths.
FOREIGN_APIS = (
    ForeignApi("lmstudio", "api/v[01](?:/.*)?", _lmstudio),
    # All that Jupyter does not keep: what Ollama has and we do not is refused in its format.
    ForeignApi("ollama", "api/(?!(?:status|shutdown)$).*", _ollama),
)

ROOT_PATHS = "|".join(api.at_root for api in FOREIGN_APIS)
"""Pattern of all paths that these APIs have at the root of `jupyter mlx-notebook`."""


def routes_below_mlx() -> list[Route]:
    """Return the routes of all these APIs, each below `mlx/<name>/`."""
    return [
        (f"mlx/{api.name}/{pattern}", *target)
        for api in FOREIGN_APIS
        for pattern, *target in api.load()
    ]


def routes_at_root() -> list[Route]:
    """Return the routes that these APIs have at the root of `jupyter mlx-notebook`."""
    return [route for api in FOREIGN_APIS for route in api.load()]
