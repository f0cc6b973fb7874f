"""A supervisor whose engine is `fake_engine.py`."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from mlx_notebook.protocol import EngineConfig
from mlx_notebook.server.engine import engine_process
from mlx_notebook.server.engine.in_flight_requests import InFlightRequests
from mlx_notebook.server.engine.supervisor import Supervisor, SupervisorLimits


@asynccontextmanager
async def supervised(
    fault: str, monkeypatch: pytest.MonkeyPatch, **limits: float
) -> AsyncIterator[Supervisor]:
    fake = Path(__file__).with_name("fake_engine.py")
    monkeypatch.setattr(engine_process, "_MODULE", (str(fake),))
    supervisor = Supervisor(
        EngineConfig(),
        SupervisorLimits(**limits),
        InFlightRequests(),
        env={**os.environ, "FAULT": fault},
        log=logging.getLogger("test"),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(supervisor.run)
        with anyio.fail_after(30):
            yield supervisor
        supervisor.stop()
    # Other tests of this process may have left a child that has ended and was not waited for.
    running = [c for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in running if "fake_engine" in str(child.cmdline())]
