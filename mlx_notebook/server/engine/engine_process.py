"""Run one engine process: its sockets, its log lines and its end."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from logging import Logger
from pathlib import Path

import anyio
import anyio.abc
import msgspec
import zmq

from mlx_notebook.protocol import RANKS_ENDED, Command, EngineConfig, Frame, Shutdown
from mlx_notebook.server.engine.engine_socket import EngineSocket

_MODULE = ("-m", "mlx_notebook.engine")
# Starts several ranks with the same options, and stays until they have ended.
_RANKS_MODULE = ("-m", "mlx_notebook.server.engine.rank_launch")
# One for commands and heartbeats, one for frames: two threads of the engine have one each.
_SOCKETS = ("commands", "frames")
# A unix socket's address holds 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100
_KILL_GRACE_SECONDS = 3.0
# The first word of each line of the engine's log.
_LEVELS = {"WARNING": logging.WARNING, "ERROR": logging.ERROR, "CRITICAL": logging.ERROR}


class EngineProcess:
    """Represent a running engine process. Start one with `EngineProcess.running`."""

    def __init__(
        self,
        process: anyio.abc.Process,
        commands: EngineSocket,
        frames: EngineSocket,
        folder: Path,
        log: Logger,
    ) -> None:
        self._process = process
        self._commands = commands
        self._frames = frames
        self._folder = folder
        self._log = log
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Frame)
        self._is_connected = False
        self._last_line = ""
        self._reason: str | None = None

    @classmethod
    @asynccontextmanager
    async def running(
        cls, config: EngineConfig, *, env: dict[str, str], log: Logger
    ) -> AsyncIterator["EngineProcess"]:
        """Start an engine, and stop it after the block together with all processes it started.

        Raises
        ------
        OSError
            If the process cannot be started.
        """
        folder = _private_folder()
        context = zmq.Context()
        sockets = []
        try:
            options = ["--config", msgspec.json.encode(config).decode()]
            for name in _SOCKETS:
                address = f"ipc://{folder}/{name}"
                sockets.append(EngineSocket(context, address))
                options += [f"--{name}", address]
            # A cancellation in the middle would leave a process that nobody stops.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    # -P: do not import a user's `random.py` from the working directory.
                    [
                        *(sys.executable, "-P"),
                        *(_MODULE if config.distributed is None else _RANKS_MODULE),
                        *options,
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=env,
                    # Ctrl-C in a terminal goes to the server only, which then stops the engine.
                    start_new_session=True,
                )
            engine = cls(process, sockets[0], sockets[1], folder, log)
            try:
                yield engine
            finally:
                with anyio.CancelScope(shield=True):
                    await engine._end()
        finally:
            for socket in sockets:
                socket.close()
            context.destroy(linger=0)
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    def connected(self) -> None:
        """Delete the sockets' files: the engine has connected, and nobody else may."""
        self._is_connected = True
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, command: Command) -> None:
        """Send a command without waiting."""
        self._commands.send(self._encoder.encode(command))

    async def frame(self) -> Frame:
        """Wait for the next frame and return it.

        Raises
        ------
        msgspec.DecodeError
            If the message is not a frame.
        """
        return self._decoder.decode(await self._frames.receive())

    async def heartbeat(self) -> Frame:
        """Wait for the next frame with a heartbeat and return it. It may overtake others.

        Raises
        ------
        msgspec.DecodeError
            If the message is not a frame.
        """
        return self._decoder.decode(await self._commands.receive())

    async def log_lines(self) -> None:
        """Copy the engine's log to the server's log until the process ends."""
        assert self._process.stderr is not None
        rest = b""
        async for chunk in self._process.stderr:
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                self._log_line(line)
        if rest:
            self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._last_line = text
            if text.startswith(RANKS_ENDED):
                self._reason = text.removeprefix(RANKS_ENDED)
            level = _LEVELS.get(text.partition(" ")[0], logging.INFO)
            self._log.log(level, "[engine %d] %s", self.pid, text[:2000])

    async def wait(self) -> int:
        """Wait until the process ends and return its exit code, negative for a signal."""
        return await self._process.wait()

    def end_reason(self, code: int, *, has_started: bool) -> str:
        """Return why it ended: what it has said of that, or else its exit code."""
        if self._reason is not None:
            return self._reason
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        is_told = self._last_line and not has_started
        return how + (f", last log line {self._last_line[:300]!r}" if is_told else "")

    def kill(self) -> None:
        """Kill the process and all processes it has started, for example a compiler."""
        # macOS raises EPERM if all processes of the group have ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _end(self) -> None:
        if self._process.returncode is None and self._is_connected:
            self.send(Shutdown())
            with anyio.move_on_after(_KILL_GRACE_SECONDS):
                await self._process.wait()
        self.kill()
        await self._process.wait()
        await self._process.aclose()


def _private_folder() -> Path:
    """Create a folder that only this user may enter, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mlxnb-"))
    if len(os.fsencode(folder / max(_SOCKETS, key=len))) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="mlxnb-", dir="/tmp"))
    return folder
