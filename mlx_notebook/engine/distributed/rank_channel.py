"""Messages between rank 0 and the other ranks, and the watch over all ranks.

MLX's own communication moves arrays, and waits for ever for a rank that is gone. This one moves
messages over ZMQ, and notices within two seconds that a rank has ended, is stopped or cannot be
reached. Both sides prove with CURVE that they know the secret of this start.

ZMQ's own thread sends and checks its heartbeats. So a rank that loads or compiles is not lost,
whatever Python does. A ZMQ socket belongs to one thread. The thread that owns MLX has one for the
messages, and a thread of the channel has one for the watch.
"""

import hashlib
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from mlx_notebook.protocol import DistributedConfig, RankStatus

log = logging.getLogger(__name__)

_Socket = zmq.Socket[bytes]

# A rank that is not heard is lost after both of these.
_HEARTBEAT_MS, _SILENCE_MS = 300, 1200
_REPORT_SECONDS, _POLL_MS = 0.25, 100
# A rank that was heard this recently has ended. One that is out of reach is silent for longer.
_RECENT_SECONDS = 1.0
_LAST_SECONDS = 1.0
# If a rank ends, computing fails on its neighbours too. The rank that ended is noticed before this.
_CAUSE_SECONDS = 1.0
_PING, _END, _HELLO = b"", b"end", b"hello"
_GONE = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class _Report(msgspec.Struct, frozen=True, array_like=True):
    """What a rank tells about itself several times a second. A rank that ends says why."""

    status: RankStatus
    failure: str | None = None


def end_process(reason: str) -> None:
    """Log why a rank is lost, and end this process at once, whatever its other threads do."""
    log.error("%s", reason)
    logging.shutdown()
    os._exit(1)


class _Channel(ABC):
    """What both sides share.

    Attributes
    ----------
    memory
        Returns the bytes of MLX's memory in use and at their peak. Called in the channel's thread.
    waited_seconds
        Seconds that the thread that owns MLX has waited for other ranks.
    """

    def __init__(self, config: DistributedConfig, rank: int, lost: Callable[[str], None]) -> None:
        self.memory: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.waited_seconds = 0.0
        self._config = config
        self._rank = rank
        self._lost = lost
        self._context = zmq.Context()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ranks", daemon=True)

    def _socket(self, kind: int) -> _Socket:
        socket = self._context.socket(kind)
        socket.linger = int(_LAST_SECONDS * 1000)
        # Sending must not block.
        socket.set_hwm(0)
        socket.heartbeat_ivl = _HEARTBEAT_MS
        socket.heartbeat_timeout = _SILENCE_MS
        return socket

    def _status(self) -> RankStatus:
        host = self._config.hosts[self._rank]
        return RankStatus(self._rank, host, os.getpid(), *self.memory(), self.waited_seconds)

    def _name(self, rank: int) -> str:
        return f"rank {rank} on {self._config.hosts[rank]}"

    def _gone(self, rank: int, heard: float) -> None:
        recent = time.monotonic() - heard < _RECENT_SECONDS
        # Rank 0 speaks for all, and which of the two cannot be reached is not known.
        asked = "" if self._rank == 0 else f" {self._name(self._rank)}"
        self._lost(f"{self._name(rank)} {'ended' if recent else f'does not answer{asked}'}")

    @abstractmethod
    def _watch(self) -> None:
        """Watch the other side until the channel closes. Runs in the channel's thread."""


class LeaderChannel(_Channel):
    """Rank 0's side.

    Its methods are called in one thread, the one that owns MLX. `statuses` may be called anywhere.

    Parameters
    ----------
    config
        The ranks' hosts, and the addresses to bind.
    secret
        Known to the ranks of this start only.
    lost
        Called with a sentence if a rank is lost, in the channel's thread. By default it ends the
        process.

    Raises
    ------
    zmq.ZMQError
        If an address cannot be bound.
    """

    def __init__(
        self,
        config: DistributedConfig,
        secret: bytes,
        lost: Callable[[str], None] = end_process,
    ) -> None:
        super().__init__(config, 0, lost)
        self._others = range(1, len(config.hosts))
        self._statuses = {rank: RankStatus(rank, host) for rank, host in enumerate(config.hosts)}
        self._heard: dict[int, float] = {}
        self._all_heard = threading.Event()
        self._pending: list[tuple[int, bytes]] = []
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(credentials_provider=_OnlyKey(secret))
        self._messages = self._bind(config.address, secret)
        self._watched = self._bind(config.watch_address, secret)
        self._thread.start()

    def _bind(self, address: str, secret: bytes) -> _Socket:
        socket = self._socket(zmq.ROUTER)
        socket.curve_publickey, socket.curve_secretkey = _keys(secret, b"leader")
        socket.curve_server = True
        # Sending to a rank that is gone fails.
        socket.router_mandatory = True
        socket.bind(address)
        return socket

    def wait_for_ranks(self) -> None:
        """Wait until every other rank has connected, and is watched."""
        missing = set(self._others)
        while missing:
            identity, message = self._messages.recv_multipart()
            if message == _HELLO:
                missing.discard(int(identity))
            else:
                self._pending.append((int(identity), message))
        self._all_heard.wait()

    def send(self, message: bytes) -> None:
        """Send a message to every other rank, without waiting. All arrive, in order."""
        for rank in self._others:
            try:
                self._messages.send_multipart([b"%d" % rank, message], zmq.NOBLOCK)
            except zmq.ZMQError:
                self._gone(rank, self._heard.get(rank, 0.0))

    def replies(self, timeout: float = 0.0) -> list[tuple[int, bytes]]:
        """Return the replies that have come, with their ranks, in order of arrival.

        Parameters
        ----------
        timeout
            Seconds to wait if none has come.
        """
        found, self._pending = self._pending, []
        wait = 0 if found else int(timeout * 1000)
        while self._messages.poll(wait):
            identity, message = self._messages.recv_multipart()
            found.append((int(identity), message))
            wait = 0
        return found

    def statuses(self) -> list[RankStatus]:
        """Return the status of every rank. Those of the others are up to half a second old."""
        return list({**self._statuses, 0: self._status()}.values())

    def fail(self, reason: str) -> None:
        """End all ranks because rank 0 has failed, or another rank whose loss made it fail."""
        time.sleep(_CAUSE_SECONDS)
        self._lost(f"{self._name(0)} failed: {reason}")

    def close(self) -> None:
        """End the other ranks in good order, then the watch. No other method may run or follow."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._authenticator.stop()
            self._context.destroy(linger=0)

    def _watch(self) -> None:
        decoder = msgspec.msgpack.Decoder(_Report)
        pinged = 0.0
        while not self._closing.is_set():
            if self._watched.poll(_POLL_MS):
                identity, message = self._watched.recv_multipart()
                self._hear(int(identity), decoder.decode(message))
            if (now := time.monotonic()) - pinged >= _REPORT_SECONDS:
                pinged = now
                for rank in list(self._heard):
                    if not self._tell(rank, _PING):
                        self._gone(rank, self._heard.pop(rank))
        left, until = set(self._heard), time.monotonic() + _LAST_SECONDS
        while left and time.monotonic() < until:
            left = {rank for rank in left if self._tell(rank, _END)}
            self._watched.poll(_POLL_MS)

    def _hear(self, rank: int, report: _Report) -> None:
        self._heard[rank] = time.monotonic()
        self._statuses[rank] = report.status
        if len(self._heard) == len(self._others):
            self._all_heard.set()
        if report.failure is not None:
            self._lost(f"{self._name(rank)} failed: {report.failure}")

    def _tell(self, rank: int, message: bytes) -> bool:
        """Send a word to the channel of a rank, and return whether the rank is there."""
        try:
            self._watched.send_multipart([b"%d" % rank, message], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True


class FollowerChannel(_Channel):
    """The side of another rank than rank 0.

    `receive` and `reply` are called in one thread, the one that owns MLX.

    Parameters
    ----------
    config
        The ranks' hosts, and the addresses of rank 0.
    rank
        The rank of this process.
    secret
        Known to the ranks of this start only.
    lost
        Called with a sentence if rank 0 is lost, in the channel's thread. By default it ends the
        process.
    ended
        Called if rank 0 ends in good order. By default it ends the process.
    """

    def __init__(
        self,
        config: DistributedConfig,
        rank: int,
        secret: bytes,
        lost: Callable[[str], None] = end_process,
        ended: Callable[[], None] = lambda: os._exit(0),
    ) -> None:
        super().__init__(config, rank, lost)
        self._ended = ended
        self._failure: str | None = None
        self._messages = self._connect(config.address, secret)
        self._watched = self._connect(config.watch_address, secret)
        self._messages.send(_HELLO)
        self._monitors = [
            socket.get_monitor_socket(_GONE) for socket in (self._messages, self._watched)
        ]
        self._thread.start()

    def _connect(self, address: str, secret: bytes) -> _Socket:
        socket = self._socket(zmq.DEALER)
        socket.routing_id = b"%d" % self._rank
        socket.curve_publickey, socket.curve_secretkey = _keys(secret, b"follower")
        socket.curve_serverkey, _ = _keys(secret, b"leader")
        socket.connect(address)
        return socket

    def receive(self, timeout: float) -> bytes | None:
        """Return the next message of rank 0.

        Parameters
        ----------
        timeout
            Seconds to wait for it. None is returned if none comes.
        """
        return self._messages.recv() if self._messages.poll(int(timeout * 1000)) else None

    def reply(self, message: bytes) -> None:
        """Send a message to rank 0, without waiting."""
        self._messages.send(message)

    def fail(self, reason: str) -> None:
        """Tell rank 0 why this rank ends, if rank 0 does not end before. It then ends all ranks."""
        time.sleep(_CAUSE_SECONDS)
        self._failure = reason
        self._closing.set()
        self._thread.join(2 * _LAST_SECONDS)

    def _watch(self) -> None:
        encoder = msgspec.msgpack.Encoder()
        poller = zmq.Poller()
        for socket in (self._watched, *self._monitors):
            poller.register(socket, zmq.POLLIN)
        heard, reported = time.monotonic(), 0.0
        while not self._closing.is_set():
            if (now := time.monotonic()) - reported >= _REPORT_SECONDS:
                reported = now
                self._watched.send(encoder.encode(_Report(self._status())))
            for socket, _ in poller.poll(_POLL_MS):
                if socket is not self._watched:
                    recv_monitor_message(socket)
                    self._gone(0, heard)
                    return
                heard = time.monotonic()
                if self._watched.recv() == _END:
                    self._ended()
                    return
        if self._failure is not None:
            self._watched.send(encoder.encode(_Report(self._status(), self._failure)))
            # Rank 0 ends then, or else the process ends by itself.
            dict(poller.poll(int(_LAST_SECONDS * 1000)))


class _OnlyKey:
    """Admits the key that follows from the secret."""

    def __init__(self, secret: bytes) -> None:
        self._public, _ = _keys(secret, b"follower")

    def callback(self, domain: str, key: bytes) -> bool:
        """Return whether a connection with this public key is admitted."""
        return key == self._public


def _keys(secret: bytes, side: bytes) -> tuple[bytes, bytes]:
    """Return the public and the secret CURVE key of a side. Both follow from the secret."""
    key = z85.encode(hashlib.blake2b(secret, digest_size=32, person=side).digest())
    return zmq.curve_public(key), key
