"""Notice clients that vanish without closing their connection: asleep, unplugged, out of reach."""

import socket
import ssl

from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream

# From Apple's netinet/tcp.h: seconds of retransmission after which a connection is closed.
_TCP_RXT_CONNDROPTIME = 0x80
_PROBES = 3
# The limit of Linux.
_MAX_SECONDS = 32_767


class ClientConnection:
    """Watch a connection, and close it if the client's machine does not answer for some time.

    On a quiet connection the system asks for answers (TCP keep-alive). Retransmissions without an
    answer are noticed here. TCP itself goes on for a quarter of an hour, and its own setting
    (TCP_USER_TIMEOUT) would also end a client that is alive and reads slowly.

    Parameters
    ----------
    stream
        The connection.
    seconds
        Time without an answer after which the connection is closed.
    """

    def __init__(self, stream: IOStream, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds
        self._unanswered = 0.0
        self._step = min(1.0, seconds / 4)
        self._timer = PeriodicCallback(self._check, 1000 * self._step)
        if stream.closed() or stream.socket.family not in (socket.AF_INET, socket.AF_INET6):
            return
        try:
            _keep_alive(stream.socket, min(seconds, _MAX_SECONDS))
        except OSError:  # macOS, if the client has closed the connection: reading will tell
            return
        self._timer.start()

    @property
    def is_closed(self) -> bool:
        """Whether the client has closed the connection. With TLS this is known later.

        Tornado notices it only when it reads, which it does not before a request is answered.
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

    def stop_watching(self) -> None:
        """Stop watching."""
        self._timer.stop()

    def _check(self) -> None:
        # Count the checks, and not the clock: a pause of this process is not the client's fault.
        if self._stream.closed():
            self.stop_watching()
        elif not _is_retransmitting(self._stream.socket):
            self._unanswered = 0.0
        else:
            self._unanswered += self._step
            if self._unanswered >= self._seconds:
                self.stop_watching()
                self._stream.close()


def _keep_alive(connection: socket.socket, seconds: float) -> None:
    """Let the system close a quiet connection whose other side does not answer for `seconds`."""
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if idle is not None:
        connection.setsockopt(socket.IPPROTO_TCP, idle, max(1, round(seconds / 2)))
    interval = max(1, round(seconds / 2 / _PROBES))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    if not hasattr(socket, "TCP_INFO"):  # macOS
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, max(1, round(seconds)))


def _is_retransmitting(connection: socket.socket) -> bool:
    """Whether data or probes were sent without an answer yet."""
    if not hasattr(socket, "TCP_INFO"):
        return False
    # The first fields of Linux's struct tcp_info: state, ca_state, retransmits, probes.
    _, _, retransmits, probes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 4)
    return bool(retransmits or probes)
