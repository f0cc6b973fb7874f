"""Start the contenders' processes, and stop each with all of its descendants."""

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.harness.client import Endpoint, get


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_blas() -> Path | None:
    """Return the OpenBLAS of opencv's wheel, else the system's, else `None`."""
    spec = importlib.util.find_spec("cv2")
    if spec is not None and spec.origin is not None:
        libraries = Path(spec.origin).parent.parent / "opencv_python.libs"
        for found in sorted(libraries.glob("libopenblas*.so*")):
            return found
    for found in sorted(Path("/usr/lib").glob("*-linux-gnu/libopenblas.so.0")):
        return found
    return None


def environment(blas: Path | None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with `blas` preloaded and without proxies."""
    variables = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        variables.pop(name, None)
        variables.pop(name.lower(), None)
    variables |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if blas is not None:
        variables["LD_PRELOAD"] = str(blas)
    return variables | dict(extra or {})


def tree(pid: int) -> list[psutil.Process]:
    """Return the process and all of its living descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(pid: int) -> int:
    """Return the resident bytes of a process tree."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process tree has used so far."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


class Service:
    """One contender's process, with its output in a log file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        variables: Mapping[str, str],
        *,
        pipes: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self._output = log.open("wb")
        pipe = subprocess.PIPE if pipes else None
        self.process = subprocess.Popen(
            list(command),
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or self._output,
            stderr=self._output,
            env=dict(variables),
            cwd=cwd,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of the log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def ready(self, endpoint: Endpoint, path: str, limit: float = 120.0) -> None:
        """Wait until GET `path` answers 200.

        Raises `RuntimeError` with the end of the log if the process exits or `limit` seconds pass.
        """
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError):
                status, _ = await get(endpoint, path)
                if status == 200:
                    return
            await asyncio.sleep(0.2)
        raise RuntimeError(f"it did not answer within {limit:.0f} s:\n{self.tail()}")

    def stop(self, grace: float = 8.0) -> list[int]:
        """Stop the process and its descendants. Return the pids that had to be killed."""
        family = tree(self.pid)
        if self.process.stdin is not None:
            # What it has not read by now is lost with it.
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=grace)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=grace)
        self.process.wait(timeout=grace)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._output.close()
        return [process.pid for process in alive]
