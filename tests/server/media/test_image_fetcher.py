"""Images from other servers: what is listed is fetched, everything else is refused."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.netutil import Resolver

from mlx_notebook.server.media.sources.image_fetcher import (
    ImageError,
    ImageFetcher,
    ImageNotAllowed,
    ImageNotFetched,
    is_public,
    parse_host,
)

pytestmark = pytest.mark.anyio
MOST = 1000
NAME = "images.example"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def image(body: bytes = b"image", kind: str = "image/png", **headers: Any) -> bytes:
    lines = [f"content-type: {kind}", f"content-length: {headers.get('length', len(body))}"]
    return b"HTTP/1.1 200 OK\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


@asynccontextmanager
async def answering(answer: Callable[[str], bytes | None]) -> AsyncIterator[int]:
    """A server on this machine; yields its port. It says what `answer` makes of a path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if (said := answer(head.split()[1].decode())) is None:
            await reader.read()  # until the client hangs up
        else:
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Names(Resolver):
    """Resolves names to what it is told, one after the other."""

    def initialize(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int, family: Any = None) -> list[tuple[int, Any]]:
        self.asked.append(host)
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        if ":" in address:
            return [(socket.AF_INET6, (address, port, 0, 0))]
        return [(socket.AF_INET, (address, port))]


def open_to(port: int, *addresses: str, **options: Any) -> ImageFetcher:
    """A fetcher that may ask our server by a name, which stands for the addresses in turn."""
    listed = [f"{NAME}:{port}", f"127.0.0.1:{port}"]
    return ImageFetcher(listed, Names(*(addresses or ("127.0.0.1",))), **options)


async def test_a_listed_host_is_asked_for_the_image() -> None:
    asked = []

    def answer(path: str) -> bytes:
        asked.append(path)
        return image()

    async with answering(answer) as port:
        url = f"http://{NAME.upper()}:{port}/a b/ü.png?size=ß#part"
        assert await open_to(port).fetch(url, MOST) == b"image"
    assert asked == ["/a%20b/%C3%BC.png?size=%C3%9F"]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example:{port}/",
        f"http://{NAME}/",
        f"https://{NAME}/",
        f"http://sub.{NAME}:{{port}}/",
        f"http://{NAME}:{{port}}@other.example/",
        f"http://user:secret@{NAME}:{{port}}/",
        f"http://{NAME}:{{port}}\\@other.example/",
        f"ftp://{NAME}:{{port}}/",
        f"http://{NAME}:notaport/",
        "http://[::1/",
        "http://",
    ],
)
async def test_nothing_else_is_asked(url: str) -> None:
    async with answering(lambda _: image()) as port:
        fetcher = open_to(port)
        with pytest.raises(ImageNotAllowed):
            await fetcher.fetch(url.format(port=port), MOST)


@pytest.mark.parametrize(
    ("host", "places"),
    [
        ("Upload.Wikimedia.org.", [("upload.wikimedia.org", 80), ("upload.wikimedia.org", 443)]),
        ("images.example:8080", [("images.example", 8080)]),
        ("\u00e9.fr:1", [("xn--9ca.fr", 1)]),
        ("[::1]:80", [("::1", 80)]),
        ("::1", [("::1", 80), ("::1", 443)]),
    ],
)
def test_hosts_are_listed_with_their_ports(host: str, places: list[tuple[str, int]]) -> None:
    assert parse_host(host) == places


async def test_without_a_list_no_host_is_asked() -> None:
    with pytest.raises(ImageNotAllowed, match="allow_image_urls"):
        await ImageFetcher().fetch("http://127.0.0.1/", MOST)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::", "64:ff9b::7f00:1", "fec0::1"),
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
async def test_a_listed_host_with_an_address_inside_is_refused(address: str) -> None:
    fetcher = ImageFetcher([NAME], Names(address))
    with pytest.raises(ImageNotAllowed, match="which is not public") as caught:
        await fetcher.fetch(f"http://{NAME}/", MOST)
    assert str(ipaddress.ip_address(address)) in caught.value.reason


def test_public_addresses_are_public() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"):
        assert is_public(ipaddress.ip_address(address))


async def test_localhost_is_refused_by_the_systems_own_resolver() -> None:
    async with answering(lambda _: image()) as port:
        with pytest.raises(ImageNotAllowed, match="which is not public"):
            await ImageFetcher([f"localhost:{port}"]).fetch(f"http://localhost:{port}/", MOST)


async def test_a_name_is_resolved_once_a_connection_so_that_it_cannot_change() -> None:
    async with answering(lambda _: image()) as port:
        names = Names("127.0.0.1", "10.9.9.9")
        fetcher = ImageFetcher([f"{NAME}:{port}", f"127.0.0.1:{port}"], names)
        assert await fetcher.fetch(f"http://{NAME}:{port}/", MOST) == b"image"
        assert names.asked == [NAME]


async def test_redirects_are_followed_where_they_are_allowed_too() -> None:
    def answer(path: str) -> bytes:
        return image() if path == "/end" else redirect("/end")

    async with answering(answer) as port:
        assert await open_to(port).fetch(f"http://{NAME}:{port}/start", MOST) == b"image"


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://169.254.169.254/latest/meta-data", "allow_image_urls"),
        ("http://127.0.0.1:1/", "allow_image_urls"),
        ("file:///etc/passwd", "other than http"),
        ("//other.example/", "allow_image_urls"),
    ],
)
async def test_a_redirect_to_elsewhere_is_refused(to: str, why: str) -> None:
    async with answering(lambda _: redirect(to)) as port:
        with pytest.raises(ImageNotAllowed, match=why):
            await open_to(port).fetch(f"http://{NAME}:{port}/", MOST)


async def test_a_redirect_to_the_same_name_with_another_address_is_refused() -> None:
    async with answering(lambda _: redirect("/again")) as port:
        with pytest.raises(ImageNotAllowed, match=r"10\.0\.0\.7"):
            await open_to(port, "127.0.0.1", "10.0.0.7").fetch(f"http://{NAME}:{port}/", MOST)


async def test_a_ring_of_redirects_ends() -> None:
    async with answering(lambda _: redirect("/again")) as port:
        with pytest.raises(ImageNotFetched, match="more than 3 times"):
            await open_to(port).fetch(f"http://{NAME}:{port}/", MOST)


async def test_a_slow_server_is_given_up() -> None:
    async with answering(lambda _: None) as port:
        with pytest.raises(ImageNotFetched, match=r"within 0\.2 seconds"):
            await open_to(port, seconds=0.2).fetch(f"http://{NAME}:{port}/", MOST)


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"ffff\r\n%b\r\n" % bytes(0xFFFF) * 20
)


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (image(bytes(MOST + 1)), "image_too_large", "1,000 bytes"),
        (image(b"x", length=10**9), "image_too_large", "1,000 bytes"),
        (CHUNKED, "image_too_large", "1,000 bytes"),
        (image(b"<html>", kind="text/html; charset=utf-8"), "image_not_fetched", "text/html"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", "image_not_fetched", "no type"),
        (b"HTTP/1.1 404 Nope\r\ncontent-length: 0\r\n\r\n", "image_not_fetched", "status 404"),
        (image(b"half", length=8), "image_not_fetched", "closed the connection"),
        (b"what?\r\n\r\n", "image_not_fetched", "closed the connection"),
        (b"", "image_not_fetched", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nx: %b\r\n\r\n" % (b"y" * 70_000), "image_not_fetched", "too large"),
        (redirect("http://[::1"), "image_not_fetched", "malformed address"),
    ],
    ids=[
        *("large", "huge", "chunked", "html", "untyped", "missing", "half", "no http", "silent"),
        *("long head", "odd redirect"),
    ],
)
async def test_other_answers_are_refused_with_the_reason(
    answer: bytes, code: str, why: str
) -> None:
    async with answering(lambda _: answer) as port:
        with pytest.raises(ImageError, match=why) as caught:
            await open_to(port).fetch(f"http://{NAME}:{port}/", MOST)
    assert caught.value.code == code


async def test_a_host_that_is_not_there_is_told() -> None:
    class Unknown(Resolver):
        async def resolve(self, host: str, port: int, family: Any = None) -> list[tuple[int, Any]]:
            raise socket.gaierror

    with pytest.raises(ImageNotFetched, match="not known"):
        await ImageFetcher([NAME], Unknown()).fetch(f"http://{NAME}/", MOST)
