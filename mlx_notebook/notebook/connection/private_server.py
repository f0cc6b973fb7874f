"""Starting and ending a server of the kernel's own (`mlx_notebook.server.private`)."""

import atexit
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import IO

from mlx_notebook.notebook.errors import PrivateServerFailed
from mlx_notebook.notebook.server.server import Server, normalise_url

START_SECONDS = 120.0
STOP_SECONDS = 5.0


class PrivateServer:
    """A server process that belongs to this kernel and ends with it.

    It listens on the loopback address, on a free port, with a fresh token that travels through a
    pipe, so that no list of processes shows it.

    Raises
    ------
    PrivateServerFailed
        If the process ends or says nothing within two minutes; the message carries its last words.
    """

    def __init__(self) -> None:
        token = secrets.token_urlsafe(32)
        self._owner = os.getpid()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlx_notebook.server.private"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,  # `select` does not see what a buffer has already read
            # Ctrl-C in a terminal goes to the whole process group: it is meant for the cell.
            start_new_session=True,
        )
        try:
            atexit.register(self.stop)
            self.server = Server(
                normalise_url(self._hand_shake(token)), token, "started for this kernel"
            )
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process still runs (as far as a fork of the kernel can tell)."""
        return os.getpid() != self._owner or self.process.poll() is None

    def stop(self) -> None:
        """Tell the process to end, and wait a little. In a fork of the kernel it does nothing."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        with suppress(BrokenPipeError):
            _pipe(self.process.stdin).close()
        # With the pipe closed it ends in any case; a kernel that shuts down cannot wait for long.
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        _pipe(self.process.stdout).close()
        self._log.close()

    def _hand_shake(self, token: str) -> str:
        """Give the token and receive the address."""
        stdin, stdout = _pipe(self.process.stdin), _pipe(self.process.stdout)
        try:
            stdin.write(json.dumps({"token": token}).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        deadline = time.monotonic() + START_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([stdout], [], [], left)
            if readable:
                line = stdout.readline()
                if not line:
                    raise self._failure()
                # Anything else on its standard output is some library's greeting.
                with suppress(ValueError, TypeError, KeyError):
                    return str(json.loads(line)["url"])
        raise PrivateServerFailed(
            f"The server started for this kernel did not start within {START_SECONDS:g} seconds."
        )

    def _failure(self) -> PrivateServerFailed:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        last = words[-1].strip() if words else f"exit status {self.process.returncode}"
        return PrivateServerFailed(f"The server started for this kernel stopped at once: {last}")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "the process was started with pipes"
    return stream
