"""A proxy between a client and a server, with the weather of a network."""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

_CHUNK = 65536


class Weather:
    """Forwards TCP connections to the server at a URL; `url` is the same server through it.

    `delay` is added to each way, in seconds. `stall()` forwards nothing more, as a machine that is
    asleep; `go_on()` ends that. `cut_after(count)` closes a connection after so many more bytes
    of the server. `refuse_next()` closes the next connection at once, `drop()` all of them.
    """

    def __init__(self, url: str, *, delay: float = 0.0, tls: ssl.SSLContext | None = None):
        parts = urlsplit(url)
        self.delay, self._tls = delay, tls
        self.target = (parts.hostname, parts.port)
        self._flows, self._closed = threading.Event(), False
        self._flows.set()
        self._left: int | None = None
        self._match = b""
        self._refuses = False
        self.connections = 0
        self.requests: list[str] = []
        self._sockets: list[socket.socket] = []
        self._one_at_a_time = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        host = "127.0.0.1" if tls is None else "localhost"
        self.url = f"{scheme}://{host}:{self.port}{parts.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self):
        self._flows.clear()

    def go_on(self):
        self._flows.set()

    def cut_after(self, count: int, where: bytes = b""):
        """Close the next connection whose answer contains `where`, `count` bytes after that."""
        self._match, self._left = where, count

    def refuse_next(self):
        """Close the next connection at once."""
        self._refuses = True

    def drop(self):
        for one in [*self._sockets]:
            _close(one)
        self._sockets.clear()

    def close(self):
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the waiting for a connection
        self._listener.close()
        self.go_on()
        self.drop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket):
        self.connections += 1
        if self._refuses:
            self._refuses = False
            _close(client)
            return
        if self.delay:
            time.sleep(2 * self.delay)  # the handshake
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.target)
        except OSError:
            _close(client)
            return
        self._sockets += [client, server]
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool):
        cuts = False
        with suppress(OSError, ValueError):
            while data := self._receive(source):
                if not answers and b" HTTP/1.1\r\n" in data:
                    self.requests.append(data.partition(b"\r\n")[0].decode(errors="replace"))
                if self.delay:
                    time.sleep(self.delay)
                self._flows.wait()
                if answers and self._left is not None and (cuts or self._match in data):
                    cuts = True
                    self._left -= len(data)
                    if self._left <= 0:
                        self._left = None
                        self._send(sink, data)
                        break
                self._send(sink, data)
        _close(source)
        _close(sink)

    def _receive(self, source: socket.socket) -> bytes:
        """Receive what comes. Two threads may not use the same TLS connection at once."""
        while isinstance(source, ssl.SSLSocket):
            if not source.pending():
                select.select([source], [], [])
            with self._one_at_a_time, suppress(TimeoutError):
                source.settimeout(0.1)
                return source.recv(_CHUNK)
        return source.recv(_CHUNK)

    def _send(self, sink: socket.socket, data: bytes):
        if not isinstance(sink, ssl.SSLSocket):
            sink.sendall(data)
            return
        with self._one_at_a_time:
            sink.settimeout(10)
            sink.sendall(data)


def _close(one: socket.socket):
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
