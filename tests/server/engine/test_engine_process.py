"""A supervisor with an engine that misbehaves."""

from pathlib import Path

import anyio
import pytest

from mlx_notebook.protocol import Load
from mlx_notebook.server.engine import engine_process
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.errors import Unavailable
from tests.server.stand_ins.supervising import supervised

pytestmark = pytest.mark.anyio
LOAD = Load(id="load", model="m", path="/nowhere")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("dies at once", "exit code 1"),
        ("garbage", "invalid message"),
        ("never ready", "no sign of life"),
        ("floods the log", "exit code 3"),
    ],
)
async def test_every_fault_ends_a_request_with_the_reason(
    fault: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(fault, monkeypatch, start=1.0) as supervisor:
        with pytest.raises(Unavailable, match=why):
            await EngineClient(supervisor).load(LOAD, "me")


async def test_an_engine_that_cannot_start_is_told_at_once_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with supervised("dies at once", monkeypatch) as supervisor:
        with pytest.raises(Unavailable, match="no such luck"):
            await EngineClient(supervisor).load(LOAD, "me")
        assert supervisor.status.state == "failed"
        assert supervisor.failure is not None
        with pytest.raises(Unavailable, match="tried again"):
            await EngineClient(supervisor).load(LOAD, "me")
        monkeypatch.setattr("mlx_notebook.server.engine.supervisor._RETRY_SECONDS", 0.0)
        with pytest.raises(Unavailable, match="no such luck"):
            await EngineClient(supervisor).load(LOAD, "me")
        supervisor.retry_start()
        while supervisor.status.state == "failed":
            await anyio.sleep(0.01)


async def test_an_engine_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised("silent", monkeypatch, heartbeat=1.0) as supervisor:
        with pytest.raises(Unavailable, match="no sign of life"):
            await EngineClient(supervisor).load(LOAD, "me")
        assert supervisor.failure is None


async def test_the_socket_is_private_and_its_file_goes_when_the_engine_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders: list[Path] = []
    make = engine_process._private_folder

    def remember() -> Path:
        folders.append(make())
        assert folders[-1].stat().st_mode & 0o777 == 0o700
        return folders[-1]

    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    monkeypatch.setattr(engine_process, "_private_folder", remember)
    async with supervised("silent", monkeypatch) as supervisor:
        supervisor.request_start()
        while supervisor.status.state != "running":
            await anyio.sleep(0.01)
        [folder] = folders
        assert not folder.exists()


@pytest.mark.slow
async def test_a_server_that_stops_tells_those_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised("silent", monkeypatch) as supervisor:

        async def wait() -> None:
            with pytest.raises(Unavailable, match="stopping"):
                await EngineClient(supervisor).load(LOAD, "me")

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(1)
            supervisor.stop()
        assert supervisor.status.state == "stopped"
