"""Tell requests of programs on this machine from those of web pages and of other machines.

The operator may let such programs in without a token, so this must not be fooled. A page on the
internet can send requests to this machine by its visitors' browsers, and by DNS rebinding even with
its own host name. A proxy on this machine passes requests of other machines on.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest

# Browsers add the first four, also for forms and images. Proxies add the others.
_TELLING = (
    *("Origin", "Referer", "Sec-Fetch-Site", "Cookie"),
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
    *("X-Real-Ip", "X-Scheme"),
)
_PORT = re.compile(r":\d+$")


def is_of_local_program(request: HTTPServerRequest) -> bool:
    """Return whether a program on this machine sent a request, and no browser or proxy did."""
    headers: Mapping[str, str] = request.headers
    return (
        not any(name in headers for name in _TELLING)
        and is_loopback(_PORT.sub("", headers.get("Host", "")))
        and is_loopback(_peer(request))
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself: `localhost`, or an address of its loopback."""
    name = host.removeprefix("[").removesuffix("]")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _peer(request: HTTPServerRequest) -> str:
    """Return the address at the other end of the connection, whatever the headers say."""
    connection = request.connection
    if not isinstance(connection, HTTP1Connection) or connection.stream.closed():
        return ""
    other = connection.stream.socket
    if other.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        address: str = other.getpeername()[0]
    except OSError:  # the client has left
        return ""
    return address
