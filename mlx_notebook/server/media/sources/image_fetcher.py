"""Fetch images, documents and videos from other servers, from the hosts that the settings allow.

Each name is resolved once for a connection. Its addresses are checked, and the connection goes to
an address that was checked, so a name that changes its address (DNS rebinding) gains nothing. Each
redirect is checked in the same way. No proxy is used, since a proxy resolves names itself.
"""

import asyncio
import ipaddress
import re
import socket
import string
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import UnsatisfiableReadError
from tornado.netutil import DefaultLoopResolver, Resolver
from tornado.simple_httpclient import (
    HTTPStreamClosedError,
    HTTPTimeoutError,
    SimpleAsyncHTTPClient,
)

from mlx_notebook import __version__
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.media.sources.media_kinds import IMAGE, MediaKind

T = TypeVar("T")

SECONDS = 10.0
NOT_ALLOWED = "image_url_not_allowed"
"""Error code for all kinds of files, since one setting names the hosts of all."""

_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
# Addresses that are translated to IPv4 (RFC 6052): check the IPv4 address inside.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_SLACK = 256 * 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ImageError(Exception):
    """An image cannot be fetched or used.

    Attributes
    ----------
    reason
        What is wrong, as the end of the sentence "The image cannot be used: ...".
    code
        Error code for the client.
    """

    def __init__(self, reason: str, code: str = "invalid_image") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class ImageNotAllowed(ImageError):
    """The settings do not allow this image."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, NOT_ALLOWED)


class ImageNotFetched(ImageError):
    """The image is allowed but could not be fetched."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "image_not_fetched")


class ImageFetcher:
    """Fetch images by HTTP.

    Parameters
    ----------
    hosts
        Hosts that may be asked, as `name`, `name:port` or an address. Without a port, ports 80 and
        443 are allowed. A private address is only used if it is listed itself.
    resolver
        Resolver of names; the system's if None.
    seconds
        Time limit for one image, including redirects.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        resolver: Resolver | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._listed = {place for host in hosts for place in parse_host(host)}
        self._resolver = _CheckingResolver(self._listed, resolver or DefaultLoopResolver())
        self._seconds = seconds

    async def fetch(self, url: str, max_bytes: int, kind: MediaKind = IMAGE) -> bytes:
        """Return the file at a URL.

        Parameters
        ----------
        url
            URL of the file.
        max_bytes
            Largest size to accept.
        kind
            What it must be.

        Raises
        ------
        ImageError
            If it is not allowed, missing, of another kind, too large or too slow.
        """
        client = SimpleAsyncHTTPClient(
            force_instance=True, resolver=self._resolver, max_body_size=max_bytes + _SLACK
        )
        try:
            async with asyncio.timeout(self._seconds):
                for _ in range(_MAX_REDIRECTS + 1):
                    response = _FileResponse(max_bytes, kind)
                    url = self._check_url(url)
                    await self._ask(client, url, response)
                    if response.location is None:
                        return response.content()
                    url = _redirect_url(url, response.location)
            raise ImageNotFetched(f"its server redirects more than {_MAX_REDIRECTS} times")
        except TimeoutError:
            raise ImageNotFetched(
                f"its server did not deliver it within {self._seconds:g} seconds"
            ) from None
        finally:
            client.close()

    async def _ask(
        self, client: SimpleAsyncHTTPClient, url: str, response: "_FileResponse"
    ) -> None:
        request = HTTPRequest(
            url,
            headers={"Accept": response.accept, "Accept-Encoding": "identity"},
            user_agent=f"mlx-notebook/{__version__}",
            connect_timeout=self._seconds,
            request_timeout=self._seconds,
            follow_redirects=False,
            decompress_response=False,
            header_callback=response.header,
            streaming_callback=response.chunk,
        )
        try:
            await client.fetch(request, raise_error=False)
        except HTTPTimeoutError:
            raise TimeoutError from None
        except HTTPStreamClosedError:
            # Tornado closes the connection if the body is too large.
            if not response.too_large:
                raise ImageNotFetched("its server closed the connection") from None
        except UnsatisfiableReadError:
            raise ImageNotFetched("the headers of its server's response are too large") from None
        except socket.gaierror:
            raise ImageNotFetched("its host is not known") from None
        except (OSError, HTTPClientError, ValueError) as error:
            raise ImageNotFetched(f"its server cannot be reached: {error}") from None

    def _check_url(self, url: str) -> str:
        """Return a normalized URL.

        Raises
        ------
        ImageNotAllowed
            If its host is not listed, or the URL is malformed.
        """
        try:
            parts = urlsplit(url)
            host, port = _normalized(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise ImageNotAllowed("its URL is malformed") from None
        if parts.scheme not in _PORTS or port is None:
            raise ImageNotAllowed("its server redirects to something other than http or https")
        if parts.username is not None or parts.password is not None:
            raise ImageNotAllowed("its URL holds a user name or a password")
        if (host, port) not in self._listed:
            raise ImageNotAllowed(
                f"the host {host[:200]!r} (port {port}) is not in MlxNotebookApp.allow_image_urls, "
                "which lists the hosts that images may come from"
            )
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if port == _PORTS[parts.scheme]:
            place = place.rpartition(":")[0]
        path, query = (quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
        return urlunsplit((parts.scheme, place, path, query, ""))


class _FileResponse:
    """Collect the response of a server while it arrives."""

    def __init__(self, most: int, kind: MediaKind) -> None:
        self._most = most
        self._kind = kind
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.too_large = False

    def header(self, line: str) -> None:
        """Read the status line or a header."""
        if not self._status:
            self._status = int(line.split(" ")[1])
            return
        name, _, value = line.partition(":")
        self._headers[name.strip().lower()] = value.strip()
        length = self._headers.get("content-length", "")
        self.too_large = length.isdigit() and int(length) > self._most

    def chunk(self, data: bytes) -> None:
        """Add a part of the body, unless the response will be refused."""
        self.too_large = self.too_large or len(self._body) + len(data) > self._most
        if self.too_large or not self._is_right:
            self._body.clear()
        else:
            self._body += data

    @property
    def location(self) -> str | None:
        """Target of a redirect, None if the response is no redirect."""
        return self._headers.get("location") if self._status in _REDIRECTS else None

    @property
    def _content_type(self) -> str:
        return self._headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def _is_right(self) -> bool:
        return self._status == 200 and self._content_type.startswith(self._kind.types)

    @property
    def accept(self) -> str:
        """Value of the header `Accept`."""
        return ", ".join(f"{kind}*" if kind.endswith("/") else kind for kind in self._kind.types)

    def content(self) -> bytes:
        """Return the body.

        Raises
        ------
        ImageError
            If the server sent something else, or the file is too large.
        """
        if self._status != 200:
            raise ImageNotFetched(f"its server answered with status {self._status}")
        if not self._is_right:
            sent = self._content_type[:100] or "no type"
            raise ImageNotFetched(f"its server sent no {self._kind.name} but {sent!r}")
        if self.too_large:
            raise too_large(self._most, self._kind)
        return bytes(self._body)


class _CheckingResolver(Resolver):
    """Resolve names to addresses, and refuse private addresses that are not listed.

    Parameters
    ----------
    listed
        Allowed hosts and addresses with their ports.
    resolver
        Resolver of names.
    """

    def initialize(self, listed: set[tuple[str, int]], resolver: Resolver) -> None:
        self._listed = listed
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the addresses of a host.

        Raises
        ------
        ImageNotAllowed
            If one is of this machine, a private network or a multicast group, and is not listed.
        """
        found = await self._resolver.resolve(host, port, family)
        for _, place in found:
            address = ipaddress.ip_address(place[0])
            if not is_public(address) and (str(address), port) not in self._listed:
                raise ImageNotAllowed(
                    f"the host {host[:200]!r} has the address {address}, which is not public"
                )
        return found


def is_public(address: Address) -> bool:
    """Whether an address is on the internet: not this machine, a private network or a group."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        if address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def too_large(most: int, kind: MediaKind = IMAGE) -> ImageError:
    """Return the error for a file of too many bytes."""
    return ImageError(
        f"it has more than {most:,} bytes, the most that this server accepts "
        f"(MlxNotebookApp.{kind.setting})",
        "image_too_large",
    )


async def naming(kind: MediaKind, where: str, work: Awaitable[T]) -> T:
    """Return what becomes of a file at the JSON path `where`, or raise the error that names it.

    Raises
    ------
    InvalidRequest
        If it cannot be fetched or used.
    """
    try:
        return await work
    except ImageError as error:
        not_allowed = error.code == NOT_ALLOWED
        raise InvalidRequest(
            f"The {kind.name} at '{where}' cannot be used: {error.reason}.",
            param=where,
            code=error.code if not_allowed else error.code.replace("image", kind.name),
        ) from None


def parse_host(host: str) -> list[tuple[str, int]]:
    """Parse an entry of `MlxNotebookApp.allow_image_urls` into pairs of host and port.

    Raises
    ------
    ValueError
        If it is neither `name`, nor `name:port`, nor an address.
    """
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):([0-9]{1,5})", host)
    given, ports = (match[1], [int(match[2])]) if match else (host, [*_PORTS.values()])
    name = _normalized(given.removeprefix("[").removesuffix("]"))
    is_name = name == _normalized(given) and _HOST_NAME.fullmatch(name)
    if not (is_name or _is_address(name)) or not 0 < ports[0] < 2**16:
        raise ValueError(f"{host!r} is not a host")
    return [(name, port) for port in ports]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _redirect_url(url: str, location: str) -> str:
    """Return the URL that a redirect leads to."""
    try:
        return urljoin(url, location)
    except ValueError:
        raise ImageNotFetched("its server redirects to a malformed address") from None


def _normalized(host: str) -> str:
    """Return a host name in normal form, for comparisons.

    Raises
    ------
    ValueError
        If it is not a valid name.
    """
    return host.rstrip(".").lower().encode("idna").decode()
