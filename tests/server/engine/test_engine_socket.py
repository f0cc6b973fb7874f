"""Messages between the event loop and a peer, as the engine is one."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import zmq

from mlx_notebook.server.engine.engine_socket import EngineSocket

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sockets(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[EngineSocket, "zmq.Socket[bytes]"]]:
    """Ours and the peer's."""
    path: Path = tmp_path_factory.mktemp("s")
    context = zmq.Context()
    address = f"ipc://{path}/s"
    ours, peer = EngineSocket(context, address), context.socket(zmq.PAIR)
    peer.immediate = True
    peer.rcvtimeo = peer.sndtimeo = 30_000
    peer.connect(address)
    assert peer.poll(30_000, zmq.POLLOUT)
    # Ours has no peer, and drops what it sends, until it has heard of this one.
    peer.send(b"connected")
    assert await ours.receive() == b"connected"
    yield ours, peer
    ours.close()
    context.destroy(linger=0)


async def test_messages_come_in_order_and_others_have_their_turn_between_them(
    sockets: tuple[EngineSocket, "zmq.Socket[bytes]"],
) -> None:
    ours, peer = sockets
    sent = [str(number).encode() for number in range(300)]
    for message in sent:
        peer.send(message)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(take_turns)
            assert [await ours.receive() for _ in sent] == sent
            group.cancel_scope.cancel()
    assert turns > len(sent) / 2


async def test_no_message_is_missed_beside_sending(
    sockets: tuple[EngineSocket, "zmq.Socket[bytes]"],
) -> None:
    ours, peer = sockets
    with anyio.fail_after(60):
        for number in range(500):
            peer.send(b"%d" % number)
            ours.send(b"to the peer")
            assert await ours.receive() == b"%d" % number
            assert peer.recv() == b"to the peer"


async def test_what_is_sent_to_an_engine_that_has_ended_is_dropped(
    sockets: tuple[EngineSocket, "zmq.Socket[bytes]"],
) -> None:
    ours, peer = sockets
    peer.close()
    for _ in range(100):
        ours.send(b"nobody reads this")
        await anyio.sleep(0)
