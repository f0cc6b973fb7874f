"""Run this project's server for a benchmark: start it, read its status, and find orphans."""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.client import get
from benchmarks.harness.contenders import NOTEBOOK, Server, Setting
from benchmarks.harness.processes import find_blas

_MARK = "MLX_NOTEBOOK_BENCHMARK"


class Running:
    """The server with its engine. All of its descendants inherit a mark in their environment."""

    def __init__(self, server: Server, mark: str) -> None:
        self.server = server
        self.mark = mark

    async def status(self) -> dict[str, Any]:
        """Return `mlx/status`. Raise `RuntimeError` if there is no answer."""
        code, status = await get(self.server.endpoint, "/mlx/status")
        if code != 200:
            raise RuntimeError(f"mlx/status answered {code}: {status}")
        found: dict[str, Any] = status
        return found

    async def until(
        self, done: Callable[[dict[str, Any]], bool], limit: float = 20.0
    ) -> dict[str, Any] | None:
        """Wait for a status that satisfies `done`. Return `None` if `limit` seconds pass first."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            status = await self.status()
            if done(status):
                return status
            await asyncio.sleep(0.05)
        return None

    def family(self) -> list[psutil.Process]:
        """Return all living processes with the mark, wherever they are in the process tree."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self.mark:
                    found.append(process)
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def engines(self) -> list[psutil.Process]:
        """Return the engine processes among them."""
        found = []
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                if "mlx_notebook.engine" in process.cmdline():
                    found.append(process)
        return found


@contextlib.asynccontextmanager
async def running(model: Path, work: Path, *options: str) -> AsyncIterator[Running]:
    """Start the server with `model` and more command-line `options`, and stop it at the end.

    Raises `RuntimeError` if it does not start.
    """
    mark = uuid.uuid4().hex
    os.environ[_MARK] = mark
    server = Server(Setting(model, find_blas(), work, work), NOTEBOOK.with_options(*options))
    try:
        await server.start()
    finally:
        del os.environ[_MARK]
    try:
        yield Running(server, mark)
    finally:
        server.stop()
