"""Measure how long a request to a server and back takes, without any work of a model."""

import time
from typing import TYPE_CHECKING

from mlx_notebook.notebook.errors import ServerUnreachable
from mlx_notebook.notebook.server import transport
from mlx_notebook.notebook.server.server import Server

if TYPE_CHECKING:
    import httpx2

# The cheapest of our routes.
PATH = "health"
_TIMES = 3
_SECONDS = 10.0


def measure_round_trip(server: Server) -> float:
    """Return the time of the fastest of three requests on an open connection, in seconds.

    Raises
    ------
    ServerUnreachable
        If the server does not answer.
    """
    import httpx2

    options = transport.client_options(server.url, is_loopback=server.is_loopback)
    headers = {"Authorization": f"Bearer {server.token}"}
    try:
        with httpx2.Client(headers=headers, timeout=_SECONDS, **options) as client:
            client.get(server.url + PATH)  # opens the connection
            return min(_time_of_one(client, server.url + PATH) for _ in range(_TIMES))
    except httpx2.TransportError as error:
        raise ServerUnreachable(f"No server answers at {server.url} ({error}).") from None


async def measure_round_trip_async(client: "httpx2.AsyncClient") -> float:
    """Return the time of a request with a client of the server's base URL, in seconds."""
    await client.get(PATH)  # opens a connection, if none is open
    began = time.monotonic()
    await client.get(PATH)
    return time.monotonic() - began


def _time_of_one(client: "httpx2.Client", url: str) -> float:
    began = time.monotonic()
    client.get(url)
    return time.monotonic() - began
