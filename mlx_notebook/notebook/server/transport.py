"""How the kernel's own requests reach a server: time limits, proxies, and what can go wrong.

A connection is used for one request. So none lies idle when the computer sleeps or changes its
network, and the next request after that works.
"""

import functools
import http.client
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from mlx_notebook.notebook.errors import ServerSilent, ServerUnreachable

CONNECT_SECONDS = 10.0
"""The most that opening a connection may take, whatever the answer may take."""

SILENT_SECONDS = 45.0
"""Silence after which a stream counts as broken. The server sends something every 10 seconds."""

# The system asks a quiet connection for a sign of life after so many seconds, so often.
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 15, 5, 3

SOCKET_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", _IDLE_SECONDS),
            ("TCP_KEEPALIVE", _IDLE_SECONDS),  # macOS's name of it
            ("TCP_KEEPINTVL", _PROBE_SECONDS),
            ("TCP_KEEPCNT", _PROBES),
        )
        if hasattr(socket, name)
    ),
]
"""Options with which the system notices within half a minute that the other machine is gone."""


def opener(*, is_loopback: bool) -> urllib.request.OpenerDirector:
    """Return what sends requests: without a proxy to this machine, and without redirects."""
    # In many companies HTTP_PROXY applies to localhost too.
    proxies = urllib.request.ProxyHandler({} if is_loopback else None)
    return urllib.request.build_opener(proxies, _NoRedirect, _Http, _Https)


def client_options(url: str, *, is_loopback: bool, is_async: bool = False) -> dict[str, Any]:
    """Return the arguments of an httpx2 client for a server: certificates, proxies, sockets."""
    import httpx2

    is_secure = url.startswith("https:")
    # Plain HTTP does not need the system's certificates, and loading them takes 30 ms.
    verify = tls_context() if is_secure or not is_loopback else False
    if not is_loopback and _has_proxy(url):
        return {"verify": verify}
    kind = httpx2.AsyncHTTPTransport if is_async else httpx2.HTTPTransport
    return {
        "transport": kind(
            verify=verify,
            trust_env=False,
            # OpenAI's own limits.
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
            socket_options=SOCKET_OPTIONS,
        )
    }


def tls_context() -> ssl.SSLContext:
    """Return the settings for TLS: the system's authorities, or those of `SSL_CERT_FILE`."""
    return _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(1)
def _tls_context(*_: str | None) -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _has_proxy(url: str) -> bool:
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    named = parts.scheme in proxies or "all" in proxies
    return named and not urllib.request.proxy_bypass(parts.hostname or "")


def unreachable(url: str, error: Exception) -> ServerUnreachable:
    """Return the error to raise where a server gave no answer, as one sentence."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return ServerSilent(f"The server at {url} is running but did not answer in time.")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ServerUnreachable(_certificate_problem(url, reason))
    if isinstance(reason, ssl.SSLError) and reason.reason == "WRONG_VERSION_NUMBER":
        return ServerUnreachable(
            f"The server at {url} does not speak TLS: write http:// if it is on this machine."
        )
    if isinstance(reason, socket.gaierror):
        host = urlsplit(url).hostname
        return ServerUnreachable(
            f"No server answers at {url}: no machine called {host!r} can be found from here."
        )
    return ServerUnreachable(f"No server answers at {url} ({reason}).")


def _certificate_problem(url: str, error: ssl.SSLCertVerificationError) -> str:
    said = error.verify_message.removesuffix(".")
    if "mismatch" in said.lower():
        return f"The certificate of {url} is for another address: {said[0].lower()}{said[1:]}."
    if "expired" in said or "not yet valid" in said:
        return f"The {said} at {url}: renew it there, or set the clock of this machine."
    return (
        f"The certificate of {url} is not trusted here: "
        "set SSL_CERT_FILE to the file of the authority that signed it."
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Returns redirects (to a login page or a hub) as responses: they must not get the token."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _prepared(connect: Callable[[], None], connection: http.client.HTTPConnection) -> None:
    """Connect within its own time limit, and let the system watch the connection."""
    timeout = connection.timeout
    # `None` stands for no limit; urllib's default is an object of its own.
    limit = timeout if isinstance(timeout, int | float) else CONNECT_SECONDS
    connection.timeout = limit = min(limit, CONNECT_SECONDS)
    try:
        connect()
    except TimeoutError:
        shaking = getattr(connection, "sock", None) is not None
        what = "no TLS handshake" if shaking else "no connection"
        raise ConnectionError(f"{what} within {limit:g} seconds") from None
    for option in SOCKET_OPTIONS:
        connection.sock.setsockopt(*option)
    connection.sock.settimeout(timeout if isinstance(timeout, int | float) else None)


class _HttpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        _prepared(super().connect, self)


class _HttpsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        _prepared(super().connect, self)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, request, context=tls_context())
