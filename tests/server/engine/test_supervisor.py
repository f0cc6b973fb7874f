"""Faults of the engine, and what its clients and the Jupyter server see of them."""

import asyncio
import concurrent.futures
import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.server.running import HELLO, RunningServer, running, wait_for

# How often the engine is killed, and how many requests are dropped; LONG_TESTS=1 for the measures
# that the project promises, fewer where minutes count.
KILLS, DROPPED = (10, 500) if os.environ.get("LONG_TESTS") else (3, 150)
LONG = {"max_tokens": 30000, "ignore_eos": True, "model": "long", "messages": HELLO}


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[RunningServer]:
    """A server of this module's own, that soon notices when its engine hangs."""
    settings = {"models_dirs": [str(models_dir)], "engine_timeout_seconds": 4}
    with running(config={"MlxNotebookApp": settings}) as server:
        server.chat(model="long")
        yield server


def kill(server: RunningServer) -> None:
    os.kill(server.engine_pid(), signal.SIGKILL)


def stream_to_its_end(
    server: RunningServer, started: list[bool] | None = None
) -> tuple[list[str], float]:
    """Stream until the server ends it; returns the lines and when the last one came."""
    lines: list[str] = []
    with httpx.stream(
        "POST",
        server.url + "v1/chat/completions",
        headers=server.headers,
        json={**LONG, "stream": True},
        timeout=30,
    ) as response:
        for line in response.iter_lines():
            if not lines and started is not None:
                started.append(True)
            if line:
                lines.append(line)
    return lines, time.monotonic()


def generating(server: RunningServer, count: int) -> bool:
    requests = server.status()["requests"]
    return sum(request["generated_tokens"] > 0 for request in requests) == count


def test_a_killed_engine_under_eight_streams_hangs_nobody(server: RunningServer) -> None:
    for _ in range(KILLS):
        pid = server.engine_pid()
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            started: list[bool] = []
            streams = [pool.submit(stream_to_its_end, server, started) for _ in range(8)]
            wait_for(lambda started=started: len(started) == 8, 30)
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            # Jupyter itself notices nothing.
            assert server.client.get("api/kernels", timeout=1).status_code == 200
            for stream in streams:
                lines, ended = stream.result(30)
                assert ended - killed < 10  # a stream that hung would go on to its timeout of 30
                assert lines[-2] == "event: error"
                error = json.loads(lines[-1].removeprefix("data: "))["error"]
                assert error["code"] == "engine_unavailable"
                assert not any('"finish_reason":"' in line for line in lines)
        assert server.works()
        assert not psutil.pid_exists(pid)
        assert server.engine_pid() != pid
    assert server.status()["engine"]["restarts"] >= KILLS


def test_a_request_to_which_nothing_was_sent_gets_a_503(server: RunningServer) -> None:
    assert server.works()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(
            httpx.post,
            server.url + "v1/chat/completions",
            json=LONG,
            headers=server.headers,
            timeout=30,
        )
        wait_for(lambda: generating(server, 1), 10)
        kill(server)
        response = answer.result(5)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_unavailable"
    assert "retry-after" in response.headers
    assert server.works()


def test_a_model_that_kills_the_engine_three_times_in_a_row_is_refused(
    server: RunningServer,
) -> None:
    assert server.works()
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            started: list[bool] = []
            stream = pool.submit(stream_to_its_end, server, started)
            wait_for(lambda started=started: started, 30)
            kill(server)
            stream.result(5)
        server.wait_until_idle()
    response = server.chat(model="long")
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "model_refused"
    assert "mlx/models/load" in error["message"]
    assert server.client.get("health").status_code == 200
    loaded = server.client.post("mlx/models/load", json={"model": "long"})
    assert loaded.status_code == 200
    assert server.works()


def test_an_engine_that_hangs_is_replaced(server: RunningServer) -> None:
    assert server.works()
    pid = server.engine_pid()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started: list[bool] = []
        stream = pool.submit(stream_to_its_end, server, started)
        wait_for(lambda: started, 10)
        os.kill(pid, signal.SIGSTOP)
        lines, _ = stream.result(20)
    assert "no sign of life" in lines[-1]
    assert server.works()
    assert not psutil.pid_exists(pid)


def test_requests_dropped_at_random_moments_leave_an_idle_engine(
    server: RunningServer,
) -> None:
    choose = random.Random(1)
    sizes: list[int] = []

    async def drop(client: httpx.AsyncClient, delay: float, stream: bool) -> None:
        body = {**LONG, "max_tokens": 400, "stream": stream}
        try:
            async with asyncio.timeout(delay):
                async with client.stream("POST", "v1/chat/completions", json=body) as response:
                    async for _ in response.aiter_lines():
                        pass
        except TimeoutError:
            return

    async def drop_many(count: int) -> None:
        async with httpx.AsyncClient(
            base_url=server.url, headers=server.headers, timeout=60
        ) as client:
            for _ in range(count // 10):
                await asyncio.gather(
                    *(drop(client, choose.random() / 2, choose.random() < 0.7) for _ in range(10))
                )

    def memory() -> int:
        return psutil.Process(server.engine_pid()).memory_info().rss

    assert server.works()
    pid = server.engine_pid()
    for count in (50, DROPPED - 50):
        asyncio.run(drop_many(count))
        status = server.wait_until_idle(30)
        sizes.append(memory())
    assert server.engine_pid() == pid
    assert status["queue"]["rows"] == 0
    assert all(model["active"] == 0 for model in server.status()["models"])
    assert sizes[1] < sizes[0] * 1.15 + 20e6, sizes
    assert server.works()


@pytest.mark.slow
def test_nothing_is_left_when_the_server_is_killed() -> None:
    server = RunningServer()
    assert server.works()
    engine = psutil.Process(server.engine_pid())
    server.process.kill()
    server.process.wait()
    gone, alive = psutil.wait_procs([engine], timeout=5)
    assert gone
    assert not alive


@pytest.mark.slow
def test_nothing_is_left_when_the_server_stops(models_dir: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGINT):
        server = RunningServer(alone=True, options=(f"--models-dir={models_dir}",))
        assert server.works()
        engine = psutil.Process(server.engine_pid())
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            started: list[bool] = []
            stream = pool.submit(stream_to_its_end, server, started)
            wait_for(lambda started=started: started, 30)
            assert server.stop(how) == 0
            lines, _ = stream.result(5)
        assert lines[-2] == "event: error"
        assert time.monotonic() - began < 10
        assert not engine.is_running()


def test_with_32_streams_the_jupyter_server_answers_between_their_tokens(
    models_dir: Path,
) -> None:
    """`benchmarks.serving` measures how fast it is; here all streams must go on."""
    with running(config={"MlxNotebookApp": {"models_dirs": [str(models_dir)]}}) as server:
        assert server.works()
        answers: list[list[int]] = []

        async def ask() -> None:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=server.url, headers=server.headers, timeout=60, limits=limits
            ) as client:
                chunks = [0] * 32

                async def stream(number: int) -> None:
                    body = {**LONG, "stream": True}
                    async with client.stream("POST", "v1/chat/completions", json=body) as response:
                        async for _ in response.aiter_bytes():
                            chunks[number] += 1

                tasks = [asyncio.create_task(stream(number)) for number in range(32)]
                while not await asyncio.to_thread(generating, server, 32):
                    await asyncio.sleep(0.1)
                for _ in range(100):
                    (await client.get("api/kernels")).raise_for_status()
                    answers.append(list(chunks))
                    await asyncio.sleep(0.02)
                assert not any(task.done() for task in tasks)
                for task in tasks:
                    task.cancel()

        asyncio.run(ask())
        # Neither waited for the other's end.
        assert all(first < last for first, last in zip(answers[0], answers[-1], strict=True))


def test_a_client_that_does_not_read_holds_up_nobody(server: RunningServer) -> None:
    assert server.chat(model="long").status_code == 200
    body = json.dumps({**LONG, "stream": True}).encode()
    head = (
        f"POST /nb/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.connect(("127.0.0.1", server.port))
        sleeper.sendall(head.encode() + body)
        wait_for(lambda: generating(server, 1), 20)
        began = time.monotonic()
        assert server.chat(model="long", max_tokens=50, ignore_eos=True).status_code == 200
        assert time.monotonic() - began < 10
    server.wait_until_idle()


def test_a_model_that_cannot_be_loaded_is_told_why(
    tmp_path: Path, models_dir: Path, server: RunningServer
) -> None:
    broken = models_dir / "broken"
    if not broken.exists():
        shutil.copytree(models_dir / "short", broken)
        (broken / "model.safetensors").write_bytes(b"not weights")
    for stream in (False, True):
        response = server.chat(model="broken", stream=stream)
        assert response.status_code == 503
        error = response.json()["error"]
        assert error["code"] == "model_load_failed"
        assert "broken" in error["message"]
    assert server.works()


def test_an_engine_that_cannot_be_started_makes_the_health_a_503() -> None:
    settings = {"engine_env": {"PYTHONHOME": "/nonexistent"}}
    with running(config={"MlxNotebookApp": settings}) as server:
        assert server.client.get("health").status_code == 200
        response = server.chat()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "engine_unavailable"
        health = server.client.get("health")
        assert health.status_code == 503
        assert health.json()["error"]["code"] == "engine_unavailable"
        assert server.status()["engine"]["state"] == "failed"
        assert server.client.get("api/kernels").status_code == 200
