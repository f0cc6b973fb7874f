"""What is found out about other hosts before ranks are started there."""

import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.server.engine import rank_hosts
from mlx_notebook.server.engine.hostfile import Hostfile, RankHost, local_hosts
from mlx_notebook.server.engine.rank_hosts import CannotStart, free_ports, leader_address, reach
from tests.server.stand_ins.stand_in_ssh import install

THERE = "someone@there"
HOSTS = Hostfile([RankHost("localhost", ["127.0.0.1"]), RankHost(THERE, ["127.0.0.1"])])

Hosts = Callable[..., None]


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Put a stand-in for ssh on the path, and say what it knows of the other host."""

    def know(**facts: Any) -> None:
        known = {THERE: {"address": "127.0.0.1", "seen": "10.1.2.3", **facts}} if facts else {}
        for name, value in install(tmp_path, known).items():
            monkeypatch.setenv(name, value)

    return know


def test_a_host_that_can_run_a_rank_tells_the_address_that_it_sees(hosts: Hosts) -> None:
    hosts(namespace=None)
    assert reach(HOSTS) == {"10.1.2.3"}


def test_no_other_host_is_asked_if_all_ranks_are_here(hosts: Hosts) -> None:
    hosts(refuses="nobody may ask")
    assert reach(local_hosts(2)) == set()


def cannot_start() -> str:
    with pytest.raises(CannotStart) as raised:
        reach(HOSTS)
    assert str(raised.value).startswith(f"rank 1 on {THERE} cannot be started: ")
    return str(raised.value)


def test_an_unknown_host_is_named(hosts: Hosts) -> None:
    hosts()
    assert "Could not resolve hostname" in cannot_start()


def test_an_unknown_host_key_is_not_accepted(hosts: Hosts) -> None:
    hosts(refuses="Host key verification failed.")
    assert cannot_start().endswith("Host key verification failed.")


def test_a_host_without_this_python_says_which(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts(namespace=None)
    monkeypatch.setattr(sys, "executable", "/no/such folder/python")
    assert "it has no /no/such folder/python" in cannot_start()


def test_a_host_with_another_version_says_which(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts(namespace=None)
    monkeypatch.setattr(rank_hosts, "version", lambda name: "0.0.1")
    there = version("mlx-notebook")
    assert f"it has mlx-notebook {there}, and this machine 0.0.1" in cannot_start()


def test_a_machine_without_ssh_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh cannot be run here" in cannot_start()


def test_a_host_that_does_not_answer_is_named(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts(namespace=None, sleeps=60)
    monkeypatch.setattr(rank_hosts, "_ANSWER_SECONDS", 0.5)
    assert "it did not answer in 0.5 seconds" in cannot_start()


def test_two_ranks_meet_at_the_first_address_of_rank_0() -> None:
    assert leader_address(HOSTS, "ring", {"127.0.0.9"}) == "127.0.0.1"


@pytest.mark.parametrize(
    ("backend", "seen", "address"),
    [
        ("ring", {"127.0.0.2"}, "127.0.0.2"),
        ("ring", {"192.0.2.1"}, "127.0.0.1"),  # not an address of this machine
        ("ring", {"127.0.0.2", "127.0.0.3"}, "127.0.0.1"),
        ("jaccl", {"127.0.0.2"}, "127.0.0.1"),
    ],
)
def test_in_a_larger_ring_they_meet_where_all_see_this_machine(
    backend: str, seen: set[str], address: str
) -> None:
    larger = Hostfile([*HOSTS.hosts, RankHost("third", ["127.0.0.1"])])
    if sys.platform != "linux" and address == "127.0.0.2":
        pytest.skip("this system has only one loopback address")
    assert leader_address(larger, backend, seen) == address


def test_ports_that_are_in_use_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        # The first would reach it with the last of its ports.
        offers = iter([port - 3, port + 1])
        monkeypatch.setattr(rank_hosts.random, "randrange", lambda *_: next(offers))
        assert free_ports(HOSTS, "127.0.0.1") == (port + 1, 2)


def test_a_foreign_address_is_said() -> None:
    foreign = Hostfile([RankHost("localhost", ["192.0.2.1"]), HOSTS.hosts[1]])
    with pytest.raises(CannotStart, match=r"rank 0 on localhost cannot listen on 192\.0\.2\.1"):
        free_ports(foreign, "192.0.2.1")
