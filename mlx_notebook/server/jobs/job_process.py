"""Run the process of one job: its messages, its log lines and its end."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from logging import Logger

import msgspec

from mlx_notebook.protocol import JobMessage, JobSpec, StopJob

_MODULE = ("-m", "mlx_notebook.engine.job_process")
# A sample of a model's text is the longest message.
_LONGEST_LINE = 1024 * 1024
_LONGEST_LOG_LINE = 2000
_LAST_LINES = 3


class JobProcess:
    """Represent the running process of a job. Start one with `JobProcess.running`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Logger) -> None:
        self._process = process
        self._log = log
        self._last_lines: list[str] = []
        self._decoder = msgspec.json.Decoder(JobMessage)
        self._reader = asyncio.create_task(self._log_lines())

    @classmethod
    @asynccontextmanager
    async def running(
        cls, spec: JobSpec, *, env: Mapping[str, str], log: Logger
    ) -> AsyncIterator["JobProcess"]:
        """Start a process for a job, and kill it after the block with all that it started.

        Raises
        ------
        OSError
            If the process cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", *_MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        job = cls(process, log)
        try:
            await job._write(msgspec.json.encode(spec))
            yield job
        finally:
            await job._end()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    async def messages(self) -> AsyncIterator[JobMessage]:
        """Yield its messages until it closes its output.

        Raises
        ------
        ValueError
            If it sends what is no message.
        """
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield self._decoder.decode(line)

    async def stop(self, *, keep: bool) -> None:
        """Tell it to stop soon."""
        await self._write(msgspec.json.encode(StopJob(keep)))

    async def end_reason(self) -> str:
        """Wait for its end without a last message, and return why it ended."""
        code = await self._process.wait()
        await self._reader
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            how += ", as the system does when memory runs out"
        said = f". Its last log lines: {' | '.join(self._last_lines)}" if self._last_lines else ""
        return how + said

    async def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # A process that has ended says so by its output's end.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()

    async def _log_lines(self) -> None:
        assert self._process.stderr is not None
        rest = b""
        while chunk := await self._process.stderr.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                self._log_line(line)
        self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = line[:_LONGEST_LOG_LINE].decode(errors="replace").rstrip()
        if text:
            self._last_lines = [*self._last_lines, text[:300]][-_LAST_LINES:]
            self._log.info("[job %d] %s", self.pid, text)

    async def _end(self) -> None:
        # macOS raises EPERM if all processes of the group have ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        self._reader.cancel()
        # Its failure, if it had one, is told here.
        (failure,) = await asyncio.gather(self._reader, return_exceptions=True)
        if isinstance(failure, Exception):
            self._log.error("Reading a job's log failed.", exc_info=failure)
