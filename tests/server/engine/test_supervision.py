"""Failures inside the server's own tasks: each is logged, told to who waits, and got over."""

import asyncio
import inspect
import itertools
from typing import Any

import anyio
import pytest

from mlx_notebook.protocol import Generate, TextPrompt, Tokenize
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.engine_process import EngineProcess
from mlx_notebook.server.engine.in_flight_requests import InFlightRequests
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.errors import QueueFull, Unavailable
from mlx_notebook.server.telemetry.engine_telemetry import EngineTelemetry
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceRecorder
from tests.server.stand_ins.supervising import supervised

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_notebook.server.engine.restarts._SHORTEST_PAUSE", 0.01)


class Failing:
    """A function that fails when it is armed, once, and otherwise does what it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.armed = False
        self.failed = asyncio.Event()
        actual = getattr(owner, name)

        def fail(*args: Any) -> Any:
            if not self.armed:
                return actual(*args)
            self.armed = False
            self.failed.set()
            raise RuntimeError(f"{name} failed")

        async def fail_later(*args: Any) -> Any:
            return await fail(*args)

        is_async = inspect.iscoroutinefunction(actual)
        monkeypatch.setattr(owner, name, fail_later if is_async else fail)


async def pid_of(supervisor: Supervisor) -> int | None:
    while supervisor.state != "running":
        await anyio.sleep(0.01)
    return supervisor.status.pid


async def pinned(supervisor: Supervisor) -> bool:
    """Have the engine answer something."""
    return (await EngineClient(supervisor).pin("model", True)).pinned


async def fails(supervisor: Supervisor) -> str:
    """Wait for what the engine never answers to fail."""
    with pytest.raises(Unavailable) as caught:
        await EngineClient(supervisor).pin("never", True)
    return caught.value.message


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (EngineTelemetry, "sample"),
        (InFlightRequests, "keep_alive"),
        (EngineTelemetry, "update"),
        (EngineProcess, "_log_line"),
    ],
)
async def test_what_is_only_for_the_eye_takes_no_request_and_no_engine_along(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch, owner, name)
    failing.armed = name == "_log_line"
    async with supervised("none", monkeypatch) as supervisor:
        supervisor.request_start()
        pid = await pid_of(supervisor)
        failing.armed = not failing.failed.is_set()
        await failing.failed.wait()
        points = len(supervisor.telemetry.history)
        assert await pinned(supervisor)
        assert supervisor.status.pid == pid
        while len(supervisor.telemetry.history) == points:
            await anyio.sleep(0.01)
    assert f"RuntimeError: {name} failed" in caplog.text


@pytest.mark.parametrize("name", ["frame", "wait"])
async def test_a_failure_beside_the_engine_ends_requests_with_503_and_replaces_it(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch, EngineProcess, name)
    failing.armed = name == "wait"  # it is asked once, as the engine starts
    async with supervised("none", monkeypatch) as supervisor:
        if name == "frame":
            assert await pinned(supervisor)
            failing.armed = True
            assert "restarted" in await fails(supervisor)
        else:
            supervisor.request_start()
            await failing.failed.wait()
        assert await pinned(supervisor)
        assert supervisor.restarts == 1
        assert supervisor.failure is None
    assert f"RuntimeError: {name} failed" in caplog.text


async def test_a_watch_that_fails_replaces_the_engine_that_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch, Supervisor, "_watch")
    failing.armed = True
    async with supervised("none", monkeypatch) as supervisor:
        supervisor.request_start()
        await failing.failed.wait()
        assert await pinned(supervisor)
        assert supervisor.restarts == 1
    assert "RuntimeError: _watch failed" in caplog.text


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (EngineTelemetry, "engine_ended"),
        (InFlightRequests, "engine_ended"),
        (Supervisor, "_run_engine"),
    ],
)
async def test_supervision_that_fails_tells_who_waits_and_begins_again(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch, owner, name)
    async with supervised("none", monkeypatch) as supervisor:
        failing.armed = name == "_run_engine"
        if name != "_run_engine":
            assert await pinned(supervisor)
            failing.armed = True
            async with anyio.create_task_group() as group:
                group.start_soon(fails, supervisor)
                while not supervisor.in_flight.streams:
                    await anyio.sleep(0.01)
                assert supervisor._process is not None
                supervisor._process.kill()
        else:
            assert "supervise" in await fails(supervisor)
        assert await pinned(supervisor)
        assert supervisor.failure is None
    assert f"RuntimeError: {name} failed" in caplog.text


async def to_its_end(client: EngineClient, command: Generate) -> None:
    async with client.generate(command, RequestOrigin("me", "v1/completions")) as stream:
        async for _ in stream.batches():
            pass


async def test_an_answer_on_which_the_server_fails_ends_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch, TraceRecorder, "record")
    failing.armed = True
    command = Generate(id="answer", model="model", path="/", prompt=TextPrompt(text="text"))
    async with supervised("none", monkeypatch) as supervisor:
        client = EngineClient(supervisor)
        with pytest.raises(Unavailable, match="failed on this response"):
            await to_its_end(client, command)
        pid = supervisor.status.pid
        assert await pinned(supervisor)
        assert supervisor.status.pid == pid
        assert not supervisor.in_flight.streams
    assert "RuntimeError: record failed" in caplog.text


async def test_a_request_that_comes_after_the_end_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with supervised("none", monkeypatch) as supervisor:
        assert await pinned(supervisor)
        supervisor.stop()
        while supervisor.state != "stopped":
            await anyio.sleep(0.01)
        assert "stopping" in await fails(supervisor)
        assert supervisor.failure is not None


async def test_only_so_many_texts_wait_to_be_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised("never ready", monkeypatch, queue=2) as supervisor:
        client, most = EngineClient(supervisor), supervisor.config.max_batch + 2

        async def tokenize(number: int) -> None:
            text = TextPrompt(text="Hello!")
            command = Tokenize(id=f"{number}", model="a", path="/a", prompt=text)
            await client.tokenize(command, "owner")

        async with anyio.create_task_group() as group:
            for number in range(most):
                group.start_soon(tokenize, number)
            while len(supervisor.in_flight.without_rows) < most:
                await anyio.sleep(0.01)
            with pytest.raises(QueueFull):
                await tokenize(most)
            group.cancel_scope.cancel()


async def test_one_user_leaves_as_much_of_the_queue_free_as_they_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with supervised("never ready", monkeypatch, queue=8) as supervisor:
        client, places = EngineClient(supervisor), supervisor.config.max_batch + 8
        ids, refusals = itertools.count(), list[str]()

        async def generate(user: str) -> None:
            text, id = TextPrompt(text="Hello!"), str(next(ids))
            command = Generate(id=id, model="a", path="/a", prompt=text, user=user)
            try:
                async with client.generate(command, RequestOrigin(user, "v1/completions")):
                    pass
            except QueueFull as error:
                refusals.append(error.message)

        async def fill(user: str) -> int:
            """Send requests until one is refused; return how many were not."""
            refusals.clear()
            for count in range(places + 1):
                taken = len(supervisor.in_flight.streams)
                group.start_soon(generate, user)
                while len(supervisor.in_flight.streams) == taken and not refusals:
                    await anyio.sleep(0)
                if refusals:
                    return count
            raise AssertionError("nothing was refused")

        async with anyio.create_task_group() as group:
            assert await fill("ann") == places // 2
            assert refusals == [
                f"{places // 2} of your requests are running or waiting, the most that one user "
                "may have now, so that others get in. Try again in a moment."
            ]
            assert await fill("bob") == places // 4
            assert await fill("cem") == places // 8
            group.cancel_scope.cancel()
