"""Send requests to the service: the connections, and which headers travel.

`httpx2` is imported when the first request comes, because that takes time.
"""

import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from tornado.httputil import HTTPHeaders

from mlx_notebook.server.errors import Unavailable

if TYPE_CHECKING:
    import httpx2
    from tornado.websocket import WebSocketClientConnection

_CONNECT_SECONDS = 10.0
# A service that no longer exists does not answer probes. Its requests end after a minute.
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 30, 10, 3
# They concern one connection (RFC 9110, section 7.6.1), or are made anew.
_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
    *("upgrade", "content-length", "content-encoding", "expect"),
}
# They say who sent the request, and to which server.
_OF_THIS_SERVER = {
    *("host", "authorization", "x-api-key", "cookie", "x-xsrftoken", "origin", "referer"),
    *("accept-encoding", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    *("x-real-ip", "x-scheme", "x-forwarded-port"),
}
# This server sets its own.
_ANSWERED_HERE = {"server", "date", "set-cookie", "content-security-policy", "vary"}
_SECRETS = {"token", "_xsrf"}


class ServiceClient:
    """Send the requests of one user to the service.

    Parameters
    ----------
    url
        Base URL of the service, which ends in a slash.
    token
        The user's token.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        # Number of requests in progress that show that somebody uses this server.
        self.running = 0

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        content: bytes,
    ) -> "AsyncIterator[httpx2.Response]":
        """Send a request. The response ends with the block.

        Parameters
        ----------
        method, path, query
            `path` is below the base URL. Tokens are removed from `query`.
        headers
            The headers of the request to this server.
        content
            The body.

        Raises
        ------
        Unavailable
            If the service cannot be reached.
        """
        import httpx2

        request = self._client.build_request(
            method,
            self._asked_url(path, query),
            headers=[*self._asked_headers(headers), *self._own_headers],
            content=content,
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    async def connect(
        self, path: str, query: str, headers: Iterable[tuple[str, str]], max_bytes: int
    ) -> "WebSocketClientConnection":
        """Open a WebSocket to the service.

        Parameters
        ----------
        path, query, headers
            As for `send`.
        max_bytes
            Largest message from the service.

        Raises
        ------
        Unavailable
            If the service cannot be reached.
        HTTPClientError
            If it refuses. Its response says why.
        """
        from tornado.httpclient import HTTPClientError, HTTPRequest
        from tornado.websocket import websocket_connect

        kept = [each for each in self._asked_headers(headers) if not _is_of_handshake(each[0])]
        all_headers = HTTPHeaders()
        for name, value in (*kept, *self._own_headers):
            all_headers.add(name, value)
        url = self._asked_url(path, query).replace("http", "ws", 1)
        request = HTTPRequest(url, headers=all_headers, connect_timeout=_CONNECT_SECONDS)
        try:
            return await websocket_connect(request, max_message_size=max_bytes)
        except HTTPClientError as error:
            if error.response is None or not 400 <= error.code < 599:
                raise self._unreachable(error) from None
            raise
        except OSError as error:
            raise self._unreachable(error) from None

    async def close(self) -> None:
        """Close all connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    def _asked_url(self, path: str, query: str) -> str:
        asked = [(name, value) for name, value in parse_qsl(query, True) if name not in _SECRETS]
        return self.url + path + (f"?{urlencode(asked)}" if asked else "")

    def _asked_headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_THIS_SERVER]
        return _end_to_end(kept)

    @property
    def _own_headers(self) -> list[tuple[str, str]]:
        # Compressed events could not be passed on one by one.
        own = [("Accept-Encoding", "identity")]
        return [*own, ("Authorization", f"Bearer {self._token}")] if self._token else own

    @cached_property
    def _client(self) -> "httpx2.AsyncClient":
        import httpx2

        return httpx2.AsyncClient(
            # A model may think for minutes before it answers.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            transport=httpx2.AsyncHTTPTransport(
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
                socket_options=_keep_alive(),
                trust_env=not _is_loopback(self.url),
            ),
            headers={},
        )

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"The mlx-notebook service of this JupyterHub, {self.url}, does not answer "
            f"({str(error) or type(error).__name__}). Try again in a moment.",
            code="service_unreachable",
            headers={"Retry-After": "5"},
        )


def answered_headers(response: "httpx2.Response") -> list[tuple[str, str]]:
    """Return the headers of the service's response that this server's client gets."""
    return [
        (name, value)
        for name, value in _end_to_end(response.headers.multi_items())
        if name.lower() not in _ANSWERED_HERE and not name.lower().startswith("access-control-")
    ]


def _end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


def _is_of_handshake(name: str) -> bool:
    return name.lower().startswith("sec-websocket-")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _keep_alive() -> list[tuple[int, int, int]]:
    # macOS has another name for it.
    idle: int = getattr(socket, "TCP_KEEPIDLE", 0) or getattr(socket, "TCP_KEEPALIVE", 0)
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, idle, _IDLE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
    ]
