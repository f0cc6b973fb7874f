"""Exchange messages with the engine over a ZMQ socket, in the event loop."""

import asyncio
from collections import deque

import anyio.lowlevel
import zmq

# Read at most this many messages before other tasks have their turn.
_MOST_AT_ONCE = 64


class EngineSocket:
    """Bind a socket that one engine connects to.

    `zmq.asyncio` would make several futures a message, and there is a message for each token.

    Parameters
    ----------
    context
        Its context.
    address
        Address to bind.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._socket = context.socket(zmq.PAIR)
        # Sending must not block. The queue limit bounds the number of messages.
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.bind(address)
        self._received: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._take)

    def send(self, message: bytes) -> None:
        """Send a message without waiting. Drop it if the engine has ended."""
        try:
            self._socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return
        # ZMQ reports a message once, and sending may have taken that report.
        self._take()

    async def receive(self) -> bytes:
        """Return the next message. Other tasks have a turn before each."""
        if self._received:
            await anyio.lowlevel.checkpoint()
        while not self._received:
            self._arrived.clear()
            await self._arrived.wait()
        return self._received.popleft()

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)

    def _take(self) -> None:
        """Take the messages that have come. ZMQ's descriptor tells only of the first one."""
        if self._socket.closed:
            return
        for _ in range(_MOST_AT_ONCE):
            # Asking is cheaper than the exception for a message that has not come.
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            self._received.append(self._socket.recv(zmq.NOBLOCK))
            self._arrived.set()
        self._loop.call_soon(self._take)
