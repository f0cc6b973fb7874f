"""Start and stop a private server for this kernel (`mlx_notebook.server.private`)."""

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

    It listens on a free port of the loopback address. Its token is new and travels through a pipe,
    so that it does not appear in the list of processes.

    Raises
    ------
    PrivateServerFailed
        If the process stops, or is not ready within two minutes. The message contains the last line
        of its log.
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
            bufsize=0,  # `select` does not see what a buffer holds
            # Ctrl-C in a terminal goes to the whole process group, but is meant for the cell.
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
        """Whether the process is running. Always true in a fork of the kernel."""
        return os.getpid() != self._owner or self.process.poll() is None

    def stop(self) -> None:
        """Stop the process and wait up to 5 seconds. Does nothing in a fork of the kernel."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        with suppress(BrokenPipeError):
            _pipe(self.process.stdin).close()
        # The closed pipe stops the process. A kernel that shuts down cannot wait for long.
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        _pipe(self.process.stdout).close()
        self._log.close()

    def _hand_shake(self, token: str) -> str:
        """Send the token to the process and return its address."""
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
                # A library may print other lines.
                with suppress(ValueError, TypeError, KeyError):
                    return str(json.loads(line)["url"])
        raise PrivateServerFailed(
            f"The server started for this kernel did not start within {START_SECONDS:g} seconds."
        )

    def _failure(self) -> PrivateServerFailed:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = lines[-1].strip() if lines else f"exit status {self.process.returncode}"
        return PrivateServerFailed(f"The server started for this kernel stopped at once: {last}")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "the process was started with pipes"
    return stream
