"""Asking the server without blocking, from the panels' thread."""

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
from mlx_notebook.notebook.server import presence

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from mlx_notebook.notebook.server.server import Server

# The server writes at least every ten seconds into a stream that is silent otherwise.
SILENCE_SECONDS = 30.0


class ServerClient:
    """A connection to one server; `using` opens and closes it."""

    def __init__(self, server: "Server", client: "httpx2.AsyncClient") -> None:
        self.server = server
        self._client = client

    @classmethod
    @asynccontextmanager
    async def using(cls, server: "Server") -> AsyncIterator["ServerClient"]:
        """Open a connection. Importing the client takes a tenth of a second: it comes late."""
        import httpx2

        async with httpx2.AsyncClient(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.token}", **presence.HEADERS},
            timeout=httpx2.Timeout(SILENCE_SECONDS, read=None),
            trust_env=not server.is_loopback,
            # Loading the system's certificates costs 30 ms, and plain HTTP has no use for them.
            verify=server.url.startswith("https:"),
        ) as client:
            yield cls(server, client)

    async def get(self, path: str, **query: str) -> Any:
        """Answer of `GET path`. Raises `NotebookError`."""
        with self._told():
            return _answer(
                await self._client.get(path, params=query, timeout=SILENCE_SECONDS),
                self.server.url,
            )

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Answer of `POST path`, however long the server works. Raises `NotebookError`.

        Cancelling closes the connection, which stops the server.
        """
        self.server.announce()
        with self._told():
            return _answer(await self._client.post(path, json=body), self.server.url)

    async def events(
        self, path: str, body: dict[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what an event stream says, decoded from JSON. Raises `NotebookError`.

        Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
        """
        method = "GET" if body is None else "POST"
        with self._told():
            async with self._client.stream(
                method, path, json=body, timeout=SILENCE_SECONDS
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _answer(response, self.server.url)
                kind = "message"
                async for line in response.aiter_lines():
                    if line.startswith("event:"):
                        kind = line[6:].strip()
                    elif line.startswith("data:") and line[5:].strip() != "[DONE]":
                        event = json.loads(line[5:])
                        if kind == "error":
                            told = event.get("error", {}).get("message")
                            raise EngineFailed(told or "The server ended the answer early.")
                        yield event
                    elif not line:
                        kind = "message"

    @contextmanager
    def _told(self) -> "Iterator[None]":
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


def _answer(response: "httpx2.Response", url: str) -> Any:
    if response.status_code < 300:
        return response.json()
    try:
        body = response.json()
    except ValueError:
        body = None
    raise from_response(response.status_code, body, where=url)
