"""Send requests to the server from the panel thread, without blocking it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.errors import (
    EngineFailed,
    ServerSilent,
    ServerUnreachable,
    from_response,
)
from mlx_notebook.notebook.server import presence, transport
from mlx_notebook.notebook.server.round_trip import measure_round_trip_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from mlx_notebook.notebook.server.server import Server

# The server sends something at least every ten seconds in an event stream.
TIMEOUT_SECONDS = 30.0


class ServerClient:
    """An HTTP connection to one server; `connect` opens and closes it."""

    def __init__(self, server: "Server", client: "httpx2.AsyncClient") -> None:
        self.server = server
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connect(cls, server: "Server") -> AsyncIterator["ServerClient"]:
        """Open a connection."""
        import httpx2

        async with httpx2.AsyncClient(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.token}", **presence.HEADERS},
            timeout=httpx2.Timeout(TIMEOUT_SECONDS, read=None),
            **transport.client_options(server.url, is_loopback=server.is_loopback, is_async=True),
        ) as client:
            yield cls(server, client)

    async def get(self, path: str, **query: str) -> Any:
        """Send `GET path` and return the decoded JSON.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        with self._translated_errors():
            return _decoded(
                await self._client.get(path, params=query, timeout=TIMEOUT_SECONDS),
                self.server.url,
            )

    async def round_trip(self) -> float:
        """Return how long a request to the server and back takes, in seconds.

        Raises
        ------
        NotebookError
            If the server does not answer.
        """
        with self._translated_errors():
            return await measure_round_trip_async(self._client)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send `POST path` and return the decoded JSON, however long the server takes.

        Cancelling closes the connection, which stops the work on the server.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        self.server.announce()
        with self._translated_errors():
            return _decoded(await self._client.post(path, json=body), self.server.url)

    async def events(
        self, path: str, body: dict[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the decoded events of an event stream.

        Format: https://html.spec.whatwg.org/multipage/server-sent-events.html

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        method = "GET" if body is None else "POST"
        with self._translated_errors():
            async with self._client.stream(
                method, path, json=body, timeout=TIMEOUT_SECONDS
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _decoded(response, self.server.url)
                kind = "message"
                async for line in response.aiter_lines():
                    if line.startswith("event:"):
                        kind = line[6:].strip()
                    elif line.startswith("data:") and line[5:].strip() != "[DONE]":
                        event = json.loads(line[5:])
                        if kind == "error":
                            message = event.get("error", {}).get("message")
                            raise EngineFailed(message or "The server ended the answer early.")
                        yield event
                    elif not line:
                        kind = "message"

    @contextmanager
    def _translated_errors(self) -> "Iterator[None]":
        import httpx2

        url = self.server.url
        try:
            yield
        except httpx2.TimeoutException:
            raise ServerSilent(f"The server at {url} did not answer in time.") from None
        except httpx2.TransportError as error:
            raise ServerUnreachable(f"No server answers at {url} ({error}).") from None
        except ValueError:
            raise ServerUnreachable(f"{url} is not an mlx-notebook server.") from None


def _decoded(response: "httpx2.Response", url: str) -> Any:
    if response.status_code < 300:
        return response.json()
    try:
        body = response.json()
    except ValueError:
        body = None
    raise from_response(response.status_code, body, where=url)
