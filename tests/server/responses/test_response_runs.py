"""Failures of the server's own while it makes a response in the background."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mlx_notebook.protocol import Generate, TextPrompt
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_runs import ResponseRuns
from mlx_notebook.server.responses.response_store import ResponseStore
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.upstreams.request_router import RequestRouter
from mlx_notebook.server.upstreams.upstreams import Upstreams
from mlx_notebook.server.users.rate_limiter import RateLimiter
from mlx_notebook.server.users.user import LOCAL
from mlx_notebook.server.users.user_limits import UserLimits
from mlx_notebook.server.wire.responses.response_object import Response
from mlx_notebook.server.wire.responses.responses_request import DECODER
from tests.server.stand_ins.supervising import supervised

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def fail(*_: Any) -> None:
    raise RuntimeError("it failed")


async def fail_later(*_: Any) -> None:
    fail()


@asynccontextmanager
async def background_response(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> AsyncIterator[tuple[ResponseRun, ResponseRuns, Supervisor]]:
    """A response in the background, which an engine without a model is asked for."""
    log = logging.getLogger("test")
    request = DECODER.decode(b'{"input": "Hi", "background": true}')
    chosen = {"temperature": 0.0, "top_p": 1.0}
    made = Response.to(request, "resp_1", "model", 1, chosen=chosen, store=True)
    run = ResponseRun("me", ResponseWriter(made, as_summary=False, sealed=False), [], [], [])
    command = Generate(id="resp_1", model="model", path="/", prompt=TextPrompt(text="text"))
    store = ResponseStore(folder / "responses", max_age=1e9, max_bytes=1 << 20, log=log)
    async with supervised("none", monkeypatch) as supervisor:
        engine = EngineClient(supervisor)
        upstreams = Upstreams(
            {}, {}, traces=engine.traces, keep_alive_seconds=10, changed=lambda: None, log=log
        )
        responses = ResponseRuns(store, RequestRouter(engine, upstreams), log)
        await responses.start(run, command, RateLimiter(UserLimits({})).begin(LOCAL))
        yield run, responses, supervisor
        await responses.close()


async def asked(supervisor: Supervisor) -> None:
    """Wait until the engine has the request."""
    while not supervisor.in_flight.streams:
        await anyio.sleep(0.01)


async def last_event(run: ResponseRun) -> Any:
    told = b"".join([data async for data in run.follow()])
    return json.loads(told.strip().rpartition(b"data: ")[2])


@pytest.mark.parametrize(
    ("owner", "name", "status"),
    [(ResponseWriter, "handle", "failed"), (ResponseStore, "save", "cancelled")],
)
async def test_it_ends_for_those_who_follow_it_and_the_failure_is_logged(
    owner: type,
    name: str,
    status: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(owner, name, fail if name == "handle" else fail_later)
    async with background_response(monkeypatch, tmp_path) as (run, responses, supervisor):
        if name == "save":
            await asked(supervisor)
            await responses.cancel(run)
        last = await last_event(run)
    assert run.response.status == status
    assert last["type"] == ("response.failed" if name == "handle" else "error")
    assert "RuntimeError: it failed" in caplog.text


async def test_a_server_that_stops_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with background_response(monkeypatch, tmp_path) as (run, _, supervisor):
        await asked(supervisor)
    last = await last_event(run)
    assert last["type"] == "response.failed"
    assert "server has stopped" in last["response"]["error"]["message"]
