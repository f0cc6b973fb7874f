import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mlx_notebook.server.errors import Unavailable
from mlx_notebook.server.relay.service_client import ServiceClient, answered_headers

pytestmark = pytest.mark.anyio
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"X-RateLimit-Limit-Requests: 3\r\nSet-Cookie: a=b\r\nServer: other\r\n"
    b"Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n{}"
)


@asynccontextmanager
async def recording_service(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service that notes the heads of its requests and always answers the same."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/services/mlx/", heads


async def test_only_the_users_token_travels() -> None:
    headers = [
        *(("Authorization", "Bearer of-this-server"), ("Cookie", "session=1"), ("Host", "here")),
        *(("X-Forwarded-For", "10.0.0.1"), ("Transfer-Encoding", "chunked"), ("Accept", "*/*")),
        *(("OpenAI-Beta", "one"), ("X-XSRFToken", "2"), ("Accept-Encoding", "gzip")),
    ]
    async with recording_service(ANSWER) as (url, heads):
        client = ServiceClient(url, "of-ann")
        query = "q=%C3%A9+x&token=of-this-server&_xsrf=2&empty="
        async with client.send("GET", "v1/models%2Fa", query, headers, b"") as response:
            assert [piece async for piece in response.aiter_raw()] == [b"{}"]
            assert [(name.lower(), value) for name, value in answered_headers(response)] == [
                ("content-type", "application/json"),
                ("x-ratelimit-limit-requests", "3"),
            ]
        await client.close()
    first, *lines = heads[0].decode().strip().split("\r\n")
    assert first == "GET /services/mlx/v1/models%2Fa?q=%C3%A9+x&empty= HTTP/1.1"
    sent = dict(line.lower().split(": ", 1) for line in lines)
    assert sent.pop("host") in url
    del sent["connection"], sent["user-agent"]
    assert sent == {
        "authorization": "bearer of-ann",
        "accept": "*/*",
        "accept-encoding": "identity",
        "openai-beta": "one",
    }


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    short = ANSWER.replace(b"Length: 2", b"Length: 9")
    async with recording_service(short) as (url, _):
        client = ServiceClient(url, "of-ann")
        with pytest.raises(Unavailable) as error:
            async with client.send("GET", "v1/models", "", [], b"") as response:
                [piece async for piece in response.aiter_raw()]
        assert error.value.code == "service_unreachable"
        await client.close()


async def test_a_service_that_is_not_there_is_named() -> None:
    client = ServiceClient("http://127.0.0.1:9/services/mlx/", "")
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/services/mlx/, does not"):
        async with client.send("GET", "v1/models", "", [], b""):
            pass
    await client.close()
