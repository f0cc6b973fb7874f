"""Find out which kind of server is at an address, before anybody is asked for a token.

No request here carries a token.
"""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from mlx_notebook.notebook.errors import NoServer, ServerUnreachable, from_response
from mlx_notebook.notebook.server import transport
from mlx_notebook.notebook.server.server import Server, normalise_url

_SECONDS = 10.0
_LARGEST = 4 * 1024 * 1024
# A page of Jupyter, and what may follow it.
_PAGE = re.compile(r"/(lab|tree|notebooks|edit|consoles|terminals|doc|login)(/.*)?$")
_API = re.compile(r"/(v1|mlx)(/.*)?$")


@dataclass
class Response:
    """A response to a request without a token."""

    status: int
    location: str
    text: bytes

    @property
    def json(self) -> Any:
        """The decoded body; `None` if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def recognise(url: str, *, seconds: float = _SECONDS) -> str:
    """Return the base URL of the mlx-notebook server at an address that a user wrote.

    Parameters
    ----------
    url
        The address: the base URL, with or without `/v1`, or the page that a browser shows.
    seconds
        Time for each answer.

    Raises
    ------
    NoServer
        If another kind of server is there, or one that refuses this machine. The message says what
        to do.
    ServerUnreachable
        If nothing answers.
    """
    bases = list(_bases(url))
    first: Response | None = None
    for base in bases:
        response = _get(base, "mlx/status", seconds)
        if _is_ours(response):
            return base
        first = first or response
    assert first is not None  # there is at least one base
    raise NoServer(_what_else(bases, first, seconds))


def _bases(url: str) -> Iterator[str]:
    """Yield the base URLs that the address may stand for, the most literal one last."""
    try:
        base = normalise_url(url)
    except ValueError as error:
        raise NoServer(f"{error}.") from None
    address, path = base[: -len(urlsplit(base).path)], urlsplit(base).path.rstrip("/")
    for ending in (_API, _PAGE):
        if ending.search(path):
            yield f"{address}{ending.sub('', path)}/"
    yield base


def _get(base: str, path: str, seconds: float) -> Response:
    server = Server(base, "")
    request = urllib.request.Request(  # noqa: S310 - `normalise_url` lets only http(s) pass
        base + path, headers={"Accept": "application/json"}
    )
    try:
        with server.opener().open(request, timeout=seconds) as response:
            return Response(response.status, "", response.read(_LARGEST))
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.headers.get("Location") or "", error.read(_LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(base, error) from None


def _unreachable(base: str, error: Exception) -> ServerUnreachable:
    reason = getattr(error, "reason", error)
    closed = ConnectionResetError | http.client.RemoteDisconnected | http.client.BadStatusLine
    is_loopback = Server(base, "").is_loopback
    if isinstance(reason, closed) and is_loopback:
        return ServerUnreachable(
            f"The connection to {base} was closed without an answer. If it is the end of a tunnel, "
            "is the server at its other end running?"
        )
    if isinstance(reason, closed) and base.startswith("http:"):
        return ServerUnreachable(
            f"What answers at {base} does not speak HTTP: if it uses TLS, write https://."
        )
    if isinstance(reason, ConnectionRefusedError):
        port = urlsplit(base).port or (443 if base.startswith("https:") else 80)
        ask = f"No server answers at {base}: is it running, is {port} its port, and "
        if is_loopback:
            return ServerUnreachable(f"{ask}if it is the end of a tunnel, is `ssh` running?")
        return ServerUnreachable(
            f"{ask}does it listen beyond its own machine? If not, a tunnel leads there: "
            f"{tunnel(base)}"
        )
    if "no TLS handshake" in str(reason):
        return ServerUnreachable(
            f"The server at {base} does not speak TLS: write http:// if it is on this machine."
        )
    return transport.unreachable(base, error)


def tunnel(base: str) -> str:
    """Return how to reach the server at a base URL through an encrypted tunnel."""
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    local = port if port > 1023 else 8000 + port
    return (
        f"run `ssh -N -L {local}:localhost:{port} {parts.hostname}` in a terminal, then "
        f"`%mlx connect http://localhost:{local}{parts.path.rstrip('/')}`."
    )


def _is_ours(response: Response) -> bool:
    """Whether a response to `GET mlx/status` comes from our routes."""
    found = response.json
    if not isinstance(found, dict):
        return False
    if response.status == 200:
        return isinstance(found.get("engine"), dict)
    error = found.get("error")
    if not isinstance(error, dict) or response.status not in (401, 403):
        return False
    if error.get("code") == "host_not_allowed":
        raise from_response(response.status, found, where="there")
    return error.get("type") == "authentication_error" and "Jupyter" in str(error.get("message"))


def _what_else(bases: list[str], first: Response, seconds: float) -> str:
    """Say what is at an address where our routes are not, and what to do."""
    base = bases[0]
    where = urljoin(base + "mlx/status", first.location)
    if 300 <= first.status < 400 and where.startswith("https:") and base.startswith("http:"):
        return f"The server at {base} wants TLS: `%mlx connect https:{base.removeprefix('http:')}`."
    if first.status == 400 and b"HTTPS" in first.text and base.startswith("http:"):
        return f"The server at {base} uses TLS: write https://."
    if first.status in (502, 503, 504):
        return (
            f"The proxy at {base} answers, but the server behind it does not (HTTP {first.status}):"
            " is it running?"
        )
    for base in bases:
        if "/hub/" in where or _has_version(base + "hub/", seconds):
            return (
                f"{base} is a JupyterHub: use the address of your own server there, "
                f"{base}user/NAME/, or of its service, {base}services/NAME/, and a token from the "
                "hub's page Token."
            )
        if _has_version(base, seconds):
            return (
                f"The Jupyter server at {base} does not have mlx-notebook: install it there, or "
                "enable it with `jupyter server extension enable mlx_notebook`."
            )
        if _serves_openai(base, seconds):
            return (
                f"{base} serves OpenAI's API without mlx-notebook. Make its models upstream models "
                "of your own server (c.MlxNotebookApp.upstreams), or use openai.OpenAI(base_url="
                f"'{base}v1')."
            )
    return (
        f"{bases[0]} is not an mlx-notebook server: use the address that `jupyter mlx-notebook` "
        "or `jupyter server list` prints there, with the path before /lab or /v1."
    )


def _has_version(base: str, seconds: float) -> bool:
    """Whether `GET api` answers as Jupyter's servers and hubs do, with a version and no more."""
    response = _get(base, "api", seconds)
    return (
        response.status == 200
        and isinstance(response.json, dict)
        and set(response.json) == {"version"}
    )


def _serves_openai(base: str, seconds: float) -> bool:
    response = _get(base, "v1/models", seconds)
    found = response.json
    if not isinstance(found, dict):
        return False
    if response.status == 200:
        return isinstance(found.get("data"), list)
    return response.status in (401, 403) and "error" in found
