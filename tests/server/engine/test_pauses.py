"""A server and an engine that stand still for a while, are held up, or whose clock is set."""

import concurrent.futures
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.server.running import HELLO, RunningServer, running, wait_for

# Seconds without a sign of life, and at one step, after which an engine is replaced.
SILENT, STEP = 4.0, 3.0
LONG = {"max_tokens": 30000, "ignore_eos": True, "model": "long", "messages": HELLO}


class Faults:
    """The faults of `faults/sitecustomize.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def of(self, name: str, value: str = "") -> Iterator[None]:
        file = self.folder / name
        file.write_text(value)
        try:
            yield
        finally:
            file.unlink()


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def server(models_dir: Path, faults: Faults) -> Iterator[RunningServer]:
    settings = {
        "models_dirs": [str(models_dir)],
        "engine_timeout_seconds": SILENT,
        "step_timeout_seconds": STEP,
    }
    env = {
        "FAULTS": str(faults.folder),
        "PYTHONPATH": str(Path(__file__).parents[1] / "faults"),
    }
    with running(config={"MlxNotebookApp": settings}, env=env) as server:
        server.chat(model="long")
        yield server


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGCONT)


class Answer:
    """A long answer that is being streamed."""

    def __init__(self, server: RunningServer) -> None:
        self.error: dict[str, Any] | None = None
        self.chunks = 0
        self._server, self._leave = server, False
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._task = self._pool.submit(self._read)
        self.goes_on()

    def _read(self) -> None:
        body = {**LONG, "stream": True}
        with self._server.client.stream("POST", "v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                self.chunks += 1
                if '"error"' in line:
                    self.error = json.loads(line.removeprefix("data: "))["error"]
                if self._leave:
                    return

    def goes_on(self) -> None:
        """Wait until more of it has come."""
        before = self.chunks
        wait_for(lambda: self.chunks > before + 5 or self._task.done(), 30)
        assert not self._task.done(), self.error

    def failed(self) -> dict[str, Any]:
        """Wait for the error that it ends with."""
        self._task.result(60)
        assert self.error is not None
        return self.error

    def leave(self) -> None:
        self._leave = True
        self._task.result(10)
        self._server.wait_until_idle()


# The last one is longer than an engine may be silent. It is for the server's own pauses only.
@pytest.mark.parametrize("seconds", [0.5, 3.0, SILENT + 2])
def test_a_server_that_stood_still_goes_on_with_its_engine_and_its_answers(
    server: RunningServer, seconds: float
) -> None:
    pid = server.engine_pid_after_a_request()
    answer = Answer(server)
    with stopped(server.process.pid):
        time.sleep(seconds)
    answer.goes_on()
    answer.leave()
    assert server.works()
    assert server.engine_pid() == pid
    assert server.client.get("health").json() == {"status": "ok"}
    assert server.status()["engine"]["state"] == "running"


def test_an_engine_that_stood_still_for_a_moment_goes_on(server: RunningServer) -> None:
    pid = server.engine_pid_after_a_request()
    answer = Answer(server)
    with stopped(pid):
        wait_for(lambda: server.status()["engine"]["silent"] >= SILENT / 4, 20)
    answer.goes_on()
    answer.leave()
    assert server.works()
    assert server.engine_pid() == pid


def test_an_engine_that_stands_still_is_told_of_and_replaced(server: RunningServer) -> None:
    pid = server.engine_pid_after_a_request()
    answer = Answer(server)
    with stopped(pid):
        wait_for(lambda: server.status()["engine"]["state"] == "unresponsive", 20, 0.02)
        health = server.client.get("health")
        error = answer.failed()
    assert health.status_code == 503
    assert "sign of life" in health.json()["error"]["message"]
    assert error["code"] == "engine_unavailable"
    assert "no sign of life" in error["message"]
    assert server.works()
    assert server.engine_pid() != pid


def test_server_and_engine_that_stood_still_together_go_on(server: RunningServer) -> None:
    pid = server.engine_pid_after_a_request()
    answer = Answer(server)
    with stopped(server.process.pid, pid):
        time.sleep(SILENT + 2)
    answer.goes_on()
    answer.leave()
    assert server.works()
    assert server.engine_pid() == pid


@pytest.mark.parametrize("where", ["step", "preparation"])
def test_an_engine_that_is_held_up_is_replaced_though_it_gives_signs_of_life(
    server: RunningServer, faults: Faults, where: str
) -> None:
    pid = server.engine_pid_after_a_request()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = Answer(server) if where == "step" else None
        with faults.of(where):
            if answer is None:
                held = pool.submit(server.chat)
                error = held.result(60).json()["error"]
            else:
                wait_for(lambda: server.status()["engine"]["held"] >= 1, 20)
                assert server.status()["engine"]["state"] == "running"
                error = answer.failed()
    assert error["code"] == "engine_unavailable"
    assert f"its {where} took over {STEP:g} seconds" in error["message"]
    assert server.works()
    assert server.engine_pid() != pid
    assert not psutil.pid_exists(pid)


def test_a_model_may_take_its_time_to_load(server: RunningServer, faults: Faults) -> None:
    pid = server.engine_pid_after_a_request()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with faults.of("loading"):
            answer = pool.submit(server.chat, model="org/other")
            wait_for(lambda: server.status()["engine"]["held"] >= STEP + 2, 30)
            assert not answer.done()
        assert answer.result(60).status_code == 200
    assert server.engine_pid() == pid


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_that_is_set_changes_nothing(
    server: RunningServer, faults: Faults, hours: int
) -> None:
    pid = server.engine_pid_after_a_request()

    def resident() -> set[str]:
        return {model["id"] for model in server.status()["models"]}

    server.client.post("mlx/models/load", json={"model": "short"}).raise_for_status()
    before = resident()
    answer = Answer(server)
    with faults.of("clock", str(hours * 3600)):
        ahead = server.status()["history"][-1]["time"] + hours * 1800
        wait_for(lambda: (server.status()["history"][-1]["time"] > ahead) == (hours > 0), 10)
        answer.goes_on()
        answer.leave()
        assert server.works()
        assert resident() >= before
        assert server.engine_pid() == pid
    assert server.works()
    assert resident() >= before
    assert server.engine_pid() == pid


@pytest.mark.slow
def test_an_engine_leaves_with_a_server_that_is_killed_while_it_stands_still(
    models_dir: Path,
) -> None:
    server = RunningServer(config={"MlxNotebookApp": {"models_dirs": [str(models_dir)]}})
    engine = psutil.Process(server.engine_pid_after_a_request())
    answers = [Answer(server) for _ in range(4)]
    with stopped(server.process.pid):
        # Until its frames fill all that is between the two, and it works no more.
        def rests() -> bool:
            before = sum(engine.cpu_times()[:2])
            time.sleep(1)
            return sum(engine.cpu_times()[:2]) - before < 0.1

        wait_for(rests, 120)
        server.process.kill()
    server.process.wait()
    _, left = psutil.wait_procs([engine], timeout=10)
    for process in left:
        process.kill()
    shutil.rmtree(server.folder)
    assert not left
    del answers
