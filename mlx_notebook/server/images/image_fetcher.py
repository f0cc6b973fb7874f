"""Pictures from other servers: only those that the settings list, never one inside by surprise.

A name is resolved once a connection, its addresses are checked, and the connection goes to the
very address that was checked: a name that means another address a moment later (DNS rebinding)
gains nothing. Each redirect starts from the beginning. No proxy is used, which would resolve names
by itself.
"""

import asyncio
import ipaddress
import re
import socket
import string
from collections.abc import Iterable
from typing import Any
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

SECONDS = 10.0
_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
# Translators to IPv4 (RFC 6052): what counts is the address inside.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_SLACK = 256 * 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ImageError(Exception):
    """A picture cannot be had or used; says why, to follow "it cannot be used: ".

    `code` is that of the error which tells the client.
    """

    def __init__(self, reason: str, code: str = "invalid_image") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class ImageNotAllowed(ImageError):
    """The settings do not allow it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "image_url_not_allowed")


class ImageNotFetched(ImageError):
    """It is allowed, and could not be fetched."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "image_not_fetched")


class ImageFetcher:
    """Fetches pictures.

    Args:
        hosts: The hosts that may be asked, as `name`, `name:port` or an address; without a port
            the standard ones are meant. A private address is only used where it is listed itself.
        resolver: Resolves names; the system's if None.
        seconds: How long one picture may take, redirects included.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        resolver: Resolver | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._listed = {place for host in hosts for place in listed(host)}
        self._resolver = _CheckingResolver(self._listed, resolver or DefaultLoopResolver())
        self._seconds = seconds

    async def fetch(self, url: str, most: int) -> bytes:
        """Return the picture behind a URL, if it has at most `most` bytes.

        Raises:
            Unusable: It is not allowed, not there, no picture, too large or too slow.
        """
        client = SimpleAsyncHTTPClient(
            force_instance=True, resolver=self._resolver, max_body_size=most + _SLACK
        )
        try:
            async with asyncio.timeout(self._seconds):
                for _ in range(_MOST_REDIRECTS + 1):
                    answer = _Answer(most)
                    url = self._checked(url)
                    await self._ask(client, url, answer)
                    if answer.location is None:
                        return answer.picture()
                    url = _joined(url, answer.location)
            raise ImageNotFetched(f"its server redirects more than {_MOST_REDIRECTS} times")
        except TimeoutError:
            raise ImageNotFetched(
                f"its server did not deliver it within {self._seconds:g} seconds"
            ) from None
        finally:
            client.close()

    async def _ask(self, client: SimpleAsyncHTTPClient, url: str, answer: "_Answer") -> None:
        request = HTTPRequest(
            url,
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            user_agent=f"mlx-notebook/{__version__}",
            connect_timeout=self._seconds,
            request_timeout=self._seconds,
            follow_redirects=False,
            decompress_response=False,
            header_callback=answer.header,
            streaming_callback=answer.chunk,
        )
        try:
            await client.fetch(request, raise_error=False)
        except HTTPTimeoutError:
            raise TimeoutError from None
        except HTTPStreamClosedError:
            # Tornado hangs up on a body that is too large.
            if not answer.too_large:
                raise ImageNotFetched("its server closed the connection") from None
        except UnsatisfiableReadError:
            raise ImageNotFetched("the head of its server's answer is too large") from None
        except socket.gaierror:
            raise ImageNotFetched("its host is not known") from None
        except (OSError, HTTPClientError, ValueError) as error:
            raise ImageNotFetched(f"its server cannot be asked: {error}") from None

    def _checked(self, url: str) -> str:
        """Return a URL in plain form, if its host is listed."""
        try:
            parts = urlsplit(url)
            host, port = _plain(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise ImageNotAllowed("its URL is malformed") from None
        if parts.scheme not in _PORTS or port is None:
            raise ImageNotAllowed("its server redirects to something other than http or https")
        if parts.username is not None or parts.password is not None:
            raise ImageNotAllowed("its URL holds a user name or a password")
        if (host, port) not in self._listed:
            raise ImageNotAllowed(
                f"the host {host[:200]!r} (port {port}) is not in MlxNotebookApp.allow_image_urls, "
                "which lists those that pictures may come from"
            )
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if port == _PORTS[parts.scheme]:
            place = place.rpartition(":")[0]
        path, query = (quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
        return urlunsplit((parts.scheme, place, path, query, ""))


class _Answer:
    """What a server says, while it says it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.too_large = False

    def header(self, line: str) -> None:
        """Take the status line or a header."""
        if not self._status:
            self._status = int(line.split(" ")[1])
            return
        name, _, value = line.partition(":")
        self._headers[name.strip().lower()] = value.strip()
        length = self._headers.get("content-length", "")
        self.too_large = length.isdigit() and int(length) > self._most

    def chunk(self, data: bytes) -> None:
        """Take a part of the body; of one that will be refused nothing is kept."""
        self.too_large = self.too_large or len(self._body) + len(data) > self._most
        if self.too_large or not self._is_picture:
            self._body.clear()
        else:
            self._body += data

    @property
    def location(self) -> str | None:
        """Where the server redirects to, if it does."""
        return self._headers.get("location") if self._status in _REDIRECTS else None

    @property
    def _kind(self) -> str:
        return self._headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def _is_picture(self) -> bool:
        return self._status == 200 and self._kind.startswith("image/")

    def picture(self) -> bytes:
        """Return the body.

        Raises:
            Unusable: The server did not answer with a picture, or with one that is too large.
        """
        if self._status != 200:
            raise ImageNotFetched(f"its server answered with status {self._status}")
        if not self._is_picture:
            raise ImageNotFetched(
                f"its server sent no picture but {self._kind[:100] or 'no type'!r}"
            )
        if self.too_large:
            raise too_large(self._most)
        return bytes(self._body)


class _CheckingResolver(Resolver):
    """Resolves to addresses that may be connected to, or refuses.

    Args:
        listed: Hosts with their ports, addresses among them.
        resolver: Resolves names.
    """

    def initialize(self, listed: set[tuple[str, int]], resolver: Resolver) -> None:
        self._listed = listed
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the addresses of a host.

        Raises:
            NotAllowed: One of them is inside: this machine, a private network, a multicast group.
        """
        found = await self._resolver.resolve(host, port, family)
        for _, place in found:
            address = ipaddress.ip_address(place[0])
            if not is_public(address) and (str(address), port) not in self._listed:
                raise ImageNotAllowed(
                    f"the host {host[:200]!r} stands for {address}, which is no public address"
                )
        return found


def is_public(address: Address) -> bool:
    """Whether an address is out on the internet: not this machine, its networks, or a group."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        if address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def too_large(most: int) -> ImageError:
    """Return the error for a picture of too many bytes."""
    return ImageError(
        f"it has more than {most:,} bytes, the most that this server takes "
        "(MlxNotebookApp.max_image_bytes)",
        "image_too_large",
    )


def listed(host: str) -> list[tuple[str, int]]:
    """Return a host of `MlxNotebookApp.allow_image_urls` with its ports.

    Raises:
        ValueError: It is neither `name`, nor `name:port`, nor an address.
    """
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):([0-9]{1,5})", host)
    given, ports = (match[1], [int(match[2])]) if match else (host, [*_PORTS.values()])
    name = _plain(given.removeprefix("[").removesuffix("]"))
    is_name = name == _plain(given) and _HOST_NAME.fullmatch(name)
    if not (is_name or _is_address(name)) or not 0 < ports[0] < 2**16:
        raise ValueError(f"{host!r} is no host")
    return [(name, port) for port in ports]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _joined(url: str, location: str) -> str:
    """Return where a redirect leads."""
    try:
        return urljoin(url, location)
    except ValueError:
        raise ImageNotFetched("its server redirects to a malformed address") from None


def _plain(host: str) -> str:
    """Return a host's name in the form that comparisons need; raises ValueError if it has none."""
    return host.rstrip(".").lower().encode("idna").decode()
