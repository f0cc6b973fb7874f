"""An engine of two ranks: on one machine, and on two hosts that only ssh reaches."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlx_notebook.model_files.footprint import read_sizes
from mlx_notebook.model_files.machine_memory import estimate_memory_budget
from tests.hub import TINY_CHAT
from tests.server.running import HELLO, RunningServer, running, wait_for
from tests.server.stand_ins.stand_in_ssh import install
from tests.tiny_models.models import qwen3

LONG = {"max_tokens": 30000, "ignore_eos": True, "model": "long", "messages": HELLO}
THERE = "someone@there"


class Stream:
    """A long request that runs in a thread of its own."""

    def __init__(self, server: RunningServer) -> None:
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(server,))
        self._thread.start()
        wait_for(lambda: self.lines, 60)

    def _read(self, server: RunningServer) -> None:
        url, body = f"{server.openai_url}/chat/completions", {**LONG, "stream": True}
        with httpx.stream("POST", url, headers=server.headers, json=body, timeout=60) as response:
            self.lines.extend(line for line in response.iter_lines() if line)

    def error(self) -> dict[str, Any]:
        """The error that ends it."""
        self._thread.join(10)  # far below the request's own end
        assert not self._thread.is_alive()
        assert self.lines[-2] == "event: error", self.lines[-2:]
        error: dict[str, Any] = json.loads(self.lines[-1].removeprefix("data: "))["error"]
        return error


def processes(server: RunningServer) -> list[psutil.Process]:
    """All processes of the engine, on all hosts."""
    return psutil.Process(server.process.pid).children(recursive=True)


def rank(server: RunningServer, number: int) -> psutil.Process:
    """The process of a rank."""

    def is_rank(process: psutil.Process) -> bool:
        try:
            command, env = process.cmdline(), process.environ()
        except psutil.Error:
            return False
        return "mlx_notebook.engine" in command and env.get("MLX_RANK") == str(number)

    (found,) = [process for process in processes(server) if is_rank(process)]
    return found


def all_end(family: list[psutil.Process]) -> None:
    """Wait until none of these processes is left."""
    left = psutil.wait_procs(family, timeout=20)[1]
    assert not left, [process.cmdline() for process in left]


@pytest.fixture(scope="module")
def models(models_dir: Path) -> dict[str, Any]:
    """Settings of the servers here."""
    return {"models_dirs": [str(models_dir)], "start_engine_at_startup": True}


def test_ranks_of_one_machine_end_together_and_start_anew(models: dict[str, Any]) -> None:
    with running(config={"MlxNotebookApp": {**models, "ranks": 2}}) as server:
        assert server.works()
        status = server.status()
        (model,) = status["models"]
        # Both parts count. Each rank has the embedding, so they are more than the whole.
        weights, _ = read_sizes("tiny-chat", TINY_CHAT)
        whole = weights.in_memory(full_precision=True)
        assert whole <= model["bytes"] < 2 * whole
        assert status["budget"]["limit"] == pytest.approx(estimate_memory_budget(), rel=0.01)
        members = status["ranks"]
        assert [(one["rank"], one["host"]) for one in members] == [
            (0, "127.0.0.1"),
            (1, "127.0.0.1"),
        ]
        assert [one["pid"] for one in members] == [rank(server, 0).pid, rank(server, 1).pid]
        assert all(one["active"] > 0 and one["peak"] >= one["active"] for one in members)
        family = processes(server)
        assert all("secret" not in " ".join(process.cmdline()) for process in family)
        stream = Stream(server)
        rank(server, 1).kill()
        error = stream.error()
        assert error["code"] == "engine_unavailable"
        assert "rank 1 on 127.0.0.1 " in error["message"]
        all_end(family)
        assert server.works()
        family = processes(server)
        # A server that is killed cannot end its engine.
        server.process.kill()
        server.process.wait()
        all_end(family)


def in_namespace(name: str, *command: str) -> None:
    subprocess.run(["ip", "netns", "exec", name, *command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str | None]:
    """A network namespace, connected to this one; None where this user may not make one."""
    name = f"mlxnb{os.getpid()}"
    here, there = f"{name}a"[-15:], f"{name}b"[-15:]
    ip = shutil.which("ip")
    if ip is None or subprocess.run([ip, "netns", "add", name], capture_output=True).returncode:
        yield None
        return
    try:
        for command in (
            f"link add {here} type veth peer name {there}",
            f"link set {there} netns {name}",
            f"addr add 10.213.77.1/30 dev {here}",
            f"link set {here} up",
        ):
            subprocess.run([ip, *command.split()], check=True, capture_output=True)
        in_namespace(name, ip, "addr", "add", "10.213.77.2/30", "dev", there)
        in_namespace(name, ip, "link", "set", there, "up")
        yield name
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def two_hosts(
    namespace: str | None, models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server whose second rank is on another host, and whose environment has a space in it."""
    folder = tmp_path_factory.mktemp("two hosts")
    environment = folder / "an environment"
    environment.symlink_to(sys.prefix, target_is_directory=True)
    # The other host's home folder is another one, so this model is on this machine only.
    qwen3(folder / "home" / "models" / "only-here")
    here, there = ("10.213.77.1", "10.213.77.2") if namespace else ("127.0.0.1", "127.0.0.1")
    (folder / "hosts.json").write_text(
        json.dumps(
            [
                {"ssh": "localhost", "ips": [here], "rdma": []},
                {"ssh": THERE, "ips": [there], "rdma": []},
            ]
        )
    )
    hosts = {THERE: {"namespace": namespace, "address": there, "seen": here}}
    with running(
        python=str(environment / "bin" / "python"),
        config={
            "MlxNotebookApp": {
                **models,
                "models_dirs": [*models["models_dirs"], str(folder / "home" / "models")],
                "hostfile": str(folder / "hosts.json"),
            }
        },
        env={**install(folder, hosts), "HOME": str(folder / "home")},
    ) as server:
        yield server


def test_a_host_without_the_files_of_a_model_is_named(two_hosts: RunningServer) -> None:
    answer = two_hosts.chat(model="only-here")
    assert answer.status_code >= 400
    message = answer.json()["error"]["message"]
    assert f"only-here cannot be loaded on {THERE} (rank 1): there is no model in" in message


def test_a_stopped_rank_on_another_host_ends_all_requests(two_hosts: RunningServer) -> None:
    assert two_hosts.works()
    family = processes(two_hosts)
    stream = Stream(two_hosts)
    rank(two_hosts, 1).send_signal(signal.SIGSTOP)
    assert f"rank 1 on {THERE} does not answer" in stream.error()["message"]
    all_end(family)


def test_a_host_out_of_reach_ends_all_requests(
    two_hosts: RunningServer, namespace: str | None
) -> None:
    if namespace is None:
        pytest.skip("this user may not make network namespaces")
    assert two_hosts.works()
    family = processes(two_hosts)
    stream = Stream(two_hosts)
    link = f"{namespace}b"[-15:]
    in_namespace(namespace, "ip", "link", "set", link, "down")
    try:
        # Either of the two may notice first that it does not hear the other.
        message = stream.error()["message"]
        assert "does not answer" in message
        assert f"rank 1 on {THERE}" in message
        all_end(family)
    finally:
        in_namespace(namespace, "ip", "link", "set", link, "up")


def test_a_host_that_cannot_be_reached_is_named_in_the_answer(
    models: dict[str, Any], tmp_path: Path
) -> None:
    hosts = [{"ssh": "localhost", "ips": ["127.0.0.1"]}, {"ssh": "nowhere", "ips": ["127.0.0.1"]}]
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    settings = {**models, "hostfile": str(tmp_path / "hosts.json")}
    with running(config={"MlxNotebookApp": settings}, env=install(tmp_path, {})) as server:
        answer = server.chat()
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["code"] == "engine_unavailable"
        assert "rank 1 on nowhere cannot be started: ssh: Could not res" in error["message"]
        assert not processes(server)
