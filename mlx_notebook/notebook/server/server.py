"""A server as the kernel sees it: its address, its token, and requests to its native routes."""

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from mlx_notebook.notebook.errors import NotAuthorized, ServerUnreachable, from_response
from mlx_notebook.notebook.server import presence, transport


@dataclass(frozen=True)
class Server:
    """The address and token of a server.

    Attributes
    ----------
    url
        The base URL, which ends in a slash.
    token
        The Jupyter token. `repr` leaves it out, so that no output of a notebook shows it.
    found
        How the server was found, in a few words.
    is_chosen
        Whether the user named it. Then it may be on another machine, also where its address is this
        one's: the address of a tunnel.
    """

    url: str
    token: str = field(repr=False)
    found: str = "given"
    is_chosen: bool = field(default=False, repr=False)

    @property
    def api(self) -> str:
        """The base URL for an OpenAI client."""
        return self.url + "v1"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine, so that no proxy is used."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def may_be_remote(self) -> bool:
        """Whether the server may be on another machine."""
        return self.is_chosen or not self.is_loopback

    def announce(self) -> None:
        """Note that this kernel uses a model of the server, which then stays in memory."""
        # A plain `Server`, because a subclass may record what it sends.
        presence.announce(self.url, Server(self.url, self.token).post)

    @property
    def is_in_the_clear(self) -> bool:
        """Whether the token and all texts cross a network without encryption."""
        return self.url.startswith("http:") and not self.is_loopback

    def get(self, path: str, *, timeout: float | None = 5.0) -> Any:
        """Send `GET path` and return the decoded JSON.

        Parameters
        ----------
        path
            Path below the base URL.
        timeout
            In seconds; None: as long as the server works.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        return self._json("GET", path, None, timeout)

    def post(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> Any:
        """Send `POST path` with a JSON body and return the decoded JSON.

        Parameters
        ----------
        path
            Path below the base URL.
        body
            The JSON object to send.
        timeout
            In seconds. By default it waits as long as the server works, because loading a model
            takes minutes. An interrupt closes the connection.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        return self._json("POST", path, body, timeout)

    @contextmanager
    def events(self, path: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Send `GET path/events` and yield the decoded events. The last one is what `path` is then.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        with self._opened_stream(self._request("GET", f"{path}/events", None)) as events:
            yield events

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """Send `POST path` and yield the decoded events of the response.

        Leaving the block closes the connection, which stops the work on the server.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        request = self._request("POST", path, json.dumps(body).encode())
        self.announce()
        with self._opened_stream(request) as events:
            yield events

    @contextmanager
    def _opened_stream(self, request: urllib.request.Request) -> Iterator[Iterator[dict[str, Any]]]:
        try:
            response = self.opener().open(request)
        except urllib.error.HTTPError as error:
            with error:
                self._decoded(error.code, error.read())
            raise
        except (OSError, http.client.HTTPException) as error:
            raise transport.unreachable(self.url, error) from None
        with response:
            yield self._events(response)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        try:
            for line in response:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise from_response(500, event, where=self.url)
                    yield event
        except (OSError, http.client.HTTPException) as error:
            raise transport.unreachable(self.url, error) from None

    def exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> tuple[int, bytes]:
        """Send a request and return the status and body of the response, whatever they are.

        Raises
        ------
        ServerUnreachable
            If there is no response.
        """
        request = self._request(method, path, body)
        if method == "POST" and path != presence.KEEP:
            self.announce()
        try:
            with self.opener().open(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise transport.unreachable(self.url, error) from None

    def opener(self) -> urllib.request.OpenerDirector:
        """Return what sends requests to this server."""
        return transport.opener(is_loopback=self.is_loopback)

    def _request(self, method: str, path: str, body: bytes | None) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310 - `normalise_url` lets only http(s) pass
            self.url + path,
            method=method,
            data=body,
            headers={
                **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
                "Accept": "application/json",
                "Content-Type": "application/json",
                **presence.HEADERS,
            },
        )

    def _json(self, method: str, path: str, body: Any, timeout: float | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return self._decoded(*self.exchange(method, path, data, timeout))

    def _decoded(self, status: int, text: bytes) -> Any:
        """Return the decoded JSON of a response.

        Raises
        ------
        NotebookError
            If the response is an error.
        """
        if 300 <= status < 400:
            raise NotAuthorized(f"The server at {self.url} asks for a login.")
        try:
            decoded = json.loads(text)
        except ValueError:
            if status >= 400:
                raise from_response(status, None, where=self.url) from None
            raise ServerUnreachable(f"{self.url} is not an mlx-notebook server.") from None
        if status >= 400:
            raise from_response(status, decoded, where=self.url)
        return decoded


def normalise_url(url: str) -> str:
    """Normalise a base URL: `http(s)`, no query, one final slash.

    A final `/v1` is removed, because users copy the URL for OpenAI clients.

    Raises
    ------
    ValueError
        If it is not an HTTP address.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = url.strip().partition("?")[0]  # the query may contain a token
        raise ValueError(f"{shown!r} is not an http:// or https:// address")
    if "@" in parts.netloc:
        raise ValueError("The address contains a user name or a password: leave them out")
    path = parts.path.rstrip("/").removesuffix("/v1") + "/"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def split_token(url: str) -> tuple[str, str]:
    """Split the address that Jupyter prints, `http://HOST/lab?token=...`, into URL and token.

    An address without a token is returned unchanged, with an empty token.
    """
    parts = urlsplit(url.strip())
    token = parse_qs(parts.query).get("token", [""])[0]
    if not token:
        return url, ""
    path = parts.path.rstrip("/").removesuffix("/lab").removesuffix("/tree")
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), token
