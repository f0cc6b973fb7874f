"""One server as the kernel sees it: its address, its token, and requests to its own routes."""

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from mlx_notebook.notebook.errors import (
    NotAuthorized,
    ServerSilent,
    ServerUnreachable,
    from_response,
)
from mlx_notebook.notebook.server import presence


@dataclass(frozen=True)
class Server:
    """Where a server is and how to be let in.

    `url` is its base URL and ends in a slash; `found` says in a few words how it was found. The
    token takes no part in `repr`, so that it cannot land in a notebook's output by accident.
    """

    url: str
    token: str = field(repr=False)
    found: str = "given"

    @property
    def api(self) -> str:
        """The base URL that an OpenAI client wants."""
        return self.url + "v1"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine, where no proxy has any business."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def announce(self) -> None:
        """Note that this kernel uses a model of the server, which then stays in memory."""
        # A server of its own, because a subclass may record what it sends.
        presence.announce(self.url, Server(self.url, self.token).post)

    def get(self, path: str, *, timeout: float = 5.0) -> Any:
        """Answer of `GET path` (below the base URL), decoded from JSON. Raises `NotebookError`."""
        return self._json("GET", path, None, timeout)

    def post(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> Any:
        """Answer of `POST path` with a JSON body, decoded from JSON. Raises `NotebookError`.

        Without a `timeout` (seconds) it waits as long as the server works: loading a model takes
        minutes. An interrupt closes the connection.
        """
        return self._json("POST", path, body, timeout)

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """Give the events that answer `POST path`, decoded. Raises `NotebookError`.

        Leaving the block closes the connection, which stops what the server does for it.
        """
        request = self._request("POST", path, json.dumps(body).encode())
        self.announce()
        try:
            response = self._opener().open(request)
        except urllib.error.HTTPError as error:
            with error:
                self._decoded(error.code, error.read())
            raise
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self, error) from None
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
            raise _unreachable(self, error) from None

    def exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> tuple[int, bytes]:
        """Send a request and give the answer's status and body, whatever they say.

        Raises `ServerUnreachable` where nothing comes back.
        """
        request = self._request(method, path, body)
        if method == "POST" and path != presence.KEEP:
            self.announce()
        try:
            with self._opener().open(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self, error) from None

    def _request(self, method: str, path: str, body: bytes | None) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310 - `normalise_url` lets only http(s) pass
            self.url + path,
            method=method,
            data=body,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/json",
                "Content-Type": "application/json",
                **presence.HEADERS,
            },
        )

    def _json(self, method: str, path: str, body: Any, timeout: float | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return self._decoded(*self.exchange(method, path, data, timeout))

    def _decoded(self, status: int, text: bytes) -> Any:
        """Return an answer's JSON. Raises `NotebookError` where it tells of an error."""
        if 300 <= status < 400:
            raise NotAuthorized(f"The server at {self.url} asks for a login.")
        try:
            told = json.loads(text)
        except ValueError:
            if status >= 400:
                raise from_response(status, None, where=self.url) from None
            raise ServerUnreachable(f"{self.url} is not an mlx-notebook server.") from None
        if status >= 400:
            raise from_response(status, told, where=self.url)
        return told

    def _opener(self) -> urllib.request.OpenerDirector:
        # HTTP_PROXY captures localhost in many companies.
        proxies = urllib.request.ProxyHandler({} if self.is_loopback else None)
        return urllib.request.build_opener(proxies, _NoRedirect)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect (to a login page, to a hub) is an answer here, and must not carry the token."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _unreachable(server: Server, error: Exception) -> ServerUnreachable:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return ServerSilent(f"The server at {server.url} is running but did not answer in time.")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ServerUnreachable(
            f"The certificate of {server.url} is not trusted here: "
            "set SSL_CERT_FILE to the file of the authority that signed it."
        )
    return ServerUnreachable(f"No server answers at {server.url} ({reason}).")


def normalise_url(url: str) -> str:
    """Write a base URL the way we compare and extend it: `http(s)`, no query, one final slash.

    The `/v1` that OpenAI clients want is taken off, since people copy that form. Raises
    `ValueError` for anything that is not an HTTP address.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = url.strip().partition("?")[0]  # a token may stand behind it
        raise ValueError(f"{shown!r} is not an http:// or https:// address")
    path = parts.path.rstrip("/").removesuffix("/v1") + "/"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def split_token(url: str) -> tuple[str, str]:
    """Split what Jupyter prints when it starts, `http://HOST/lab?token=...`, into URL and token.

    An address without a token comes back as it is, with an empty token.
    """
    parts = urlsplit(url.strip())
    token = parse_qs(parts.query).get("token", [""])[0]
    if not token:
        return url, ""
    path = parts.path.rstrip("/").removesuffix("/lab").removesuffix("/tree")
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), token
