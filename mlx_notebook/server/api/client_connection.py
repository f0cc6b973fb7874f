"""The other side of a connection, which may go without a word: asleep, unplugged, out of reach."""

import socket
import ssl

from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream

# Apple's netinet/tcp.h: seconds after which a connection ends that sends the same again and again.
_TCP_RXT_CONNDROPTIME = 0x80
_PROBES = 3
# What Linux takes.
_MOST_SECONDS = 32_767


class ClientConnection:
    """Watches a connection, and closes it where nothing comes back for some seconds.

    A connection that is quiet is asked for an answer by the system (TCP keep-alive). What is sent
    and sent again without an answer is noticed here: TCP itself goes on for a quarter of an hour,
    and its own setting for that (TCP_USER_TIMEOUT) would also end a client that is there and only
    reads slowly.

    Args:
        stream: The connection.
        seconds: For how long.
    """

    def __init__(self, stream: IOStream, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds
        self._unanswered = 0.0
        self._step = min(1.0, seconds / 4)
        self._look_again = PeriodicCallback(self._look, 1000 * self._step)
        if stream.closed() or stream.socket.family not in (socket.AF_INET, socket.AF_INET6):
            return
        try:
            _keep_alive(stream.socket, min(seconds, _MOST_SECONDS))
        except OSError:  # macOS says so of a client that has gone; reading from it tells the rest
            return
        self._look_again.start()

    @property
    def has_gone(self) -> bool:
        """Whether the other side has closed the connection; of TLS known only once Tornado knows.

        Tornado notices it when it waits for something to read, not before a request is answered.
        """
        if self._stream.closed():
            return True
        connection = self._stream.socket
        if isinstance(connection, ssl.SSLSocket):
            return False
        try:
            return not connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def leave(self) -> None:
        """Watch no longer."""
        self._look_again.stop()

    def _look(self) -> None:
        # Counts its looks and not the clock: a pause of this process is not the client's.
        if self._stream.closed():
            self.leave()
        elif not _sends_again(self._stream.socket):
            self._unanswered = 0.0
        else:
            self._unanswered += self._step
            if self._unanswered >= self._seconds:
                self.leave()
                self._stream.close()


def _keep_alive(connection: socket.socket, seconds: float) -> None:
    """Have the system end a quiet connection whose other side is silent for so long."""
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if idle is not None:
        connection.setsockopt(socket.IPPROTO_TCP, idle, max(1, round(seconds / 2)))
    interval = max(1, round(seconds / 2 / _PROBES))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    if not hasattr(socket, "TCP_INFO"):  # macOS
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, max(1, round(seconds)))


def _sends_again(connection: socket.socket) -> bool:
    """Whether data or a probe was sent again, or a probe for the first time, with no answer yet."""
    if not hasattr(socket, "TCP_INFO"):
        return False
    # The beginning of Linux's struct tcp_info: state, ca_state, retransmits, probes.
    _, _, retransmits, probes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 4)
    return bool(retransmits or probes)
