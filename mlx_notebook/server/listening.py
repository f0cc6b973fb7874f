"""Sockets that listen, and rest while there are too few descriptors for another connection."""

import os
import resource
import socket
import time
from logging import Logger
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import add_accept_handler

# Kept for the server's own files, its kernels and the engine: at most so many, and this part.
_MOST_KEPT, _PART_KEPT = 64, 8
_REST_SECONDS = 1.0
_LOG_SECONDS = 10.0


class ListeningSocket:
    """A listening socket. Connections for which there is no descriptor wait in its backlog.

    Tornado alone tries to take them in without pause, and logs each failure with a traceback.

    Args:
        listening: The socket.
        log: Told of a rest, every ten seconds at most.
    """

    def __init__(self, listening: socket.socket, log: Logger) -> None:
        self._socket = listening
        self._log = log
        self._logged = float("-inf")

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection and its address.

        Raises:
            BlockingIOError: There is none, or it has to wait.
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return self._socket.accept()
        if self._next_descriptor() >= limit - min(_MOST_KEPT, limit // _PART_KEPT):
            self._rest(limit)
            raise BlockingIOError
        return self._socket.accept()

    def _next_descriptor(self) -> float:
        """Return the number of the next descriptor, which is the lowest that is free."""
        try:
            descriptor = os.dup(self.fileno())
        except OSError:
            return float("inf")
        os.close(descriptor)
        return descriptor

    def _rest(self, limit: int) -> None:
        loop = IOLoop.current()
        loop.update_handler(self, 0)
        loop.call_later(_REST_SECONDS, self._go_on)
        now = time.monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            self._log.warning(
                "This process may open %d files and connections, and nearly all are open: new "
                "connections wait. `ulimit -n` raises the limit.",
                limit,
            )

    def _go_on(self) -> None:
        if self.fileno() >= 0:
            IOLoop.current().update_handler(self, IOLoop.READ)


def limit_accepted_connections(server: HTTPServer, log: Logger) -> None:
    """Have a server that listens already do so by `Listener`."""
    for descriptor, listening in server._sockets.items():
        server._handlers[descriptor]()  # Tornado's own handler goes
        server._handlers[descriptor] = add_accept_handler(
            ListeningSocket(listening, log),  # type: ignore[arg-type]
            server._handle_connection,
        )
