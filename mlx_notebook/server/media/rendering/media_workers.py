"""Run the processes that render documents and decode videos."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

import msgspec
import psutil

from mlx_notebook.server.media.rendering.media_tasks import (
    Frames,
    MediaAnswer,
    MediaTask,
    Pages,
    Unusable,
)
from mlx_notebook.server.media.sources.image_fetcher import ImageError

_MODULE = "mlx_notebook.server.media.rendering.media_process"
_AT_ONCE = 2
_TICK = 0.2
# Time that passes without processor time: the machine is busy, or the process hangs.
_LONGEST_SECONDS = 300.0
# Threads of OpenBLAS, which comes with OpenCV, reserve memory each.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class MediaWorkers:
    """Run each document or video in a process of its own.

    Parameters
    ----------
    seconds
        Processor time for one file.
    memory
        Memory of one process, in bytes.
    """

    def __init__(self, seconds: int = 30, memory: int = 3 * 2**30) -> None:
        self._seconds = seconds
        self._memory = memory
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, task: MediaTask) -> Pages | Frames:
        """Run a task.

        Raises
        ------
        ImageError
            If the file cannot be used, or takes too much time or memory.
        """
        async with self._places:
            answer = await self._answer(task)
        if isinstance(answer, Unusable):
            raise ImageError(answer.reason, answer.code)
        return answer

    async def _answer(self, task: MediaTask) -> MediaAnswer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _MODULE, str(self._seconds), str(self._memory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
        )
        watch = asyncio.create_task(_watch(process.pid, self._memory))
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                output, _ = await process.communicate(msgspec.msgpack.encode(task))
        except TimeoutError:
            raise ImageError("reading it takes too long") from None
        finally:
            watch.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == -signal.SIGXCPU:
            raise ImageError(f"reading it takes more than {self._seconds} s of processor time")
        if process.returncode == -signal.SIGKILL:
            raise ImageError("reading it takes too much memory")
        if process.returncode:
            raise ImageError("its reader has crashed on it, or it takes too much memory")
        answer: MediaAnswer = await asyncio.to_thread(
            msgspec.msgpack.decode, output, type=MediaAnswer
        )
        return answer


async def _watch(pid: int, most: int) -> None:
    """Kill a process that has too much memory. On Linux the system itself sets the limit."""
    try:
        process = psutil.Process(pid)
        while True:
            if process.memory_info().rss > most:
                process.kill()
            await asyncio.sleep(_TICK)
    except psutil.Error:  # it has ended
        return
