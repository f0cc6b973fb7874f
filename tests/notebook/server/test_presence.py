"""A model stays in memory while a notebook that used it lately is open."""

import os
import subprocess
import sys
import time

import pytest

from tests.server.running import running, wait_for

IDLE_SECONDS = 3.0
KERNEL = """
import threading
import mlx_notebook
mlx_notebook.client().chat.completions.create(
    model="tiny-chat", messages=[{"role": "user", "content": "Hello!"}], max_tokens=2
)
print("used", flush=True)
for thread in threading.enumerate():
    if thread.name == "mlx-notebook-presence":
        thread.join()
print("ended", flush=True)
input()
"""


def server(keep_minutes):
    minutes = {"idle_unload_minutes": IDLE_SECONDS / 60, "notebook_keep_minutes": keep_minutes}
    return running(config={"MlxNotebookApp": minutes})


@pytest.fixture
def kernel():
    """Start a process that uses a model of a server as a notebook does, and stays."""
    started = []

    def start(server):
        env = {**os.environ, "MLX_NOTEBOOK_URL": server.url, "MLX_NOTEBOOK_TOKEN": server.token}
        process = subprocess.Popen(
            [sys.executable, "-c", KERNEL],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "used\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def resident(server):
    return [model["id"] for model in server.status()["models"]]


def test_a_model_stays_while_its_notebook_is_open_and_goes_after_it(kernel):
    with server(keep_minutes=60) as running_server:
        process = kernel(running_server)
        wait_for(lambda: resident(running_server), 10)
        until = time.monotonic() + 2.5 * IDLE_SECONDS
        while time.monotonic() < until:
            assert resident(running_server) == ["tiny-chat"]
            time.sleep(0.3)
        [told] = running_server.status()["models"]
        assert time.time() - told["last_used"] > 2 * IDLE_SECONDS, "being open is no request"
        process.kill()
        wait_for(lambda: not resident(running_server), 30)


def test_a_model_goes_though_its_notebook_is_open_when_it_was_used_long_ago(kernel):
    with server(keep_minutes=0.05) as running_server:
        process = kernel(running_server)
        wait_for(lambda: not resident(running_server), 40)
        assert process.stdout.readline() == "ended\n"
        assert process.poll() is None


@pytest.mark.slow
def test_a_kernel_is_told_which_models_are_kept_for_it():
    with server(keep_minutes=60) as running_server:
        named = {"X-Mlx-Notebook-Kernel": "one"}
        asked = {"model": "tiny-chat", "messages": [{"role": "user", "content": "Hi"}]}
        client = running_server.client
        client.post("v1/chat/completions", json={**asked, "max_tokens": 1}, headers=named)
        kept = client.post("mlx/models/keep", headers=named).raise_for_status().json()
        assert kept == {"models": ["tiny-chat"], "again_seconds": pytest.approx(1.0)}
        for other in ({"X-Mlx-Notebook-Kernel": "two"}, {}):
            assert client.post("mlx/models/keep", headers=other).json()["models"] == []
