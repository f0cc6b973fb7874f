"""Stop accepting connections while the process has too few file descriptors left."""

import os
import resource
import socket
import time
from logging import Logger
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import add_accept_handler

# Descriptors that are reserved for files, kernels and the engine: an eighth, and at most 64.
_MAX_RESERVED, _RESERVED_PART = 64, 8
_PAUSE_SECONDS = 1.0
_LOG_SECONDS = 10.0


class ListeningSocket:
    """Accept connections, and leave them in the backlog while few file descriptors are left.

    Without this, Tornado tries to accept them all the time and logs a traceback each time.

    Parameters
    ----------
    listening
        The socket.
    log
        Logger for a warning, at most every ten seconds.
    """

    def __init__(self, listening: socket.socket, log: Logger) -> None:
        self._socket = listening
        self._log = log
        self._logged = float("-inf")

    def fileno(self) -> int:
        """Return the descriptor of the socket, -1 if it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection and its address.

        Raises
        ------
        BlockingIOError
            If there is none, or it has to wait.
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return self._socket.accept()
        if self._next_descriptor() >= limit - min(_MAX_RESERVED, limit // _RESERVED_PART):
            self._pause(limit)
            raise BlockingIOError
        return self._socket.accept()

    def _next_descriptor(self) -> float:
        """Return the number of the next descriptor, which is the lowest free one."""
        try:
            descriptor = os.dup(self.fileno())
        except OSError:
            return float("inf")
        os.close(descriptor)
        return descriptor

    def _pause(self, limit: int) -> None:
        loop = IOLoop.current()
        loop.update_handler(self, 0)
        loop.call_later(_PAUSE_SECONDS, self._resume)
        now = time.monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            self._log.warning(
                "This process may open %d files and connections, and nearly all are open. New "
                "connections wait. `ulimit -n` raises the limit.",
                limit,
            )

    def _resume(self) -> None:
        if self.fileno() >= 0:
            IOLoop.current().update_handler(self, IOLoop.READ)


def limit_accepted_connections(server: HTTPServer, log: Logger) -> None:
    """Replace the sockets of a listening server by `ListeningSocket`."""
    for descriptor, listening in server._sockets.items():
        server._handlers[descriptor]()  # removes Tornado's own handler
        server._handlers[descriptor] = add_accept_handler(
            ListeningSocket(listening, log),  # type: ignore[arg-type]
            server._handle_connection,
        )
