"""The client against servers that answer in the ways of real ones."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.harness.client import Endpoint, get, post

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

EVENTS = [
    b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "lo"}}]}\n\n',
    b'data: {"choices": [], "usage": {"completion_tokens": 2, "prompt_tokens": 7}}\n\n',
    b"data: [DONE]\n\n",
]


@asynccontextmanager
async def serving(answer: Answer):
    """Run a server on a free port that reads one request and then calls `answer`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
            if length:
                await reader.readexactly(int(length[0].split(b":")[1]))
            await answer(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Endpoint(server.sockets[0].getsockname()[1])


async def chunked(writer: asyncio.StreamWriter, events: list[bytes], pause: float = 0.0) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in events:
        await asyncio.sleep(pause)
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()


def test_a_stream_yields_text_usage_and_the_time_of_its_first_text():
    async def run():
        async def answer(writer):
            await chunked(writer, EVENTS, 0.02)
            writer.write(b"0\r\n\r\n")

        async with serving(answer) as endpoint:
            return await post(endpoint, {})

    reply = asyncio.run(run())
    assert reply.text == "Hello"
    assert reply.usage["completion_tokens"] == 2
    assert reply.error is None
    # The first delta is empty, so the first text is in the second event.
    assert reply.started + 0.035 < reply.first < reply.ended


def test_a_plain_json_answer_is_read_by_its_length():
    body = json.dumps({"choices": [{"message": {"content": "Hi"}}], "usage": {"a": 1}}).encode()

    async def run():
        async def answer(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        async with serving(answer) as endpoint:
            return await post(endpoint, {}), await get(endpoint, "/x")

    reply, (status, data) = asyncio.run(run())
    assert (reply.text, reply.complete, reply.usage) == ("Hi", True, {"a": 1})
    assert (status, data["usage"]) == (200, {"a": 1})


def test_a_stream_that_breaks_off_is_an_error_and_keeps_its_text():
    async def run():
        async with serving(lambda writer: chunked(writer, EVENTS[:2])) as endpoint:
            return await post(endpoint, {})

    reply = asyncio.run(run())
    assert reply.text == "Hel"
    assert reply.error == "the stream broke off"


def test_an_error_event_is_reported_with_its_message():
    async def run():
        async def answer(writer):
            await chunked(writer, [EVENTS[1], b'data: {"error": {"message": "gone"}}\n\n'])
            writer.write(b"0\r\n\r\n")

        async with serving(answer) as endpoint:
            return await post(endpoint, {})

    assert asyncio.run(run()).error == "gone"


def test_a_dropped_request_ends_at_once_and_a_hung_one_times_out():
    async def run():
        async def hang(writer):
            await chunked(writer, EVENTS[:2])
            await asyncio.sleep(1)

        async with serving(hang) as endpoint:
            dropped = await post(endpoint, {}, drop_after=0.1)
            with pytest.raises(TimeoutError):
                await post(endpoint, {}, timeout=0.1)
            return dropped, await post(endpoint, {}, drop_after_text=0.05)

    for reply in asyncio.run(run()):
        assert reply.dropped
        assert reply.error is None
        assert reply.first is not None
