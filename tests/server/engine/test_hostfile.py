"""Hostfiles, and the settings that name one."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from mlx_notebook.server.configuration import Configuration
from mlx_notebook.server.engine.hostfile import local_hosts, read_hostfile
from mlx_notebook.server.engine.rank_hosts import chosen_backend

HERE = {"ssh": "localhost", "ips": ["10.0.0.1"], "rdma": [None, "rdma_en2"]}
THERE = {"ssh": "someone@there", "ips": ["10.0.0.2"], "rdma": ["rdma_en2", None]}


def without(host: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in host.items() if key != name}


def written(folder: Path, content: Any) -> str:
    file = folder / "hosts.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.mark.parametrize("content", [[HERE, THERE], {"hosts": [HERE, THERE], "envs": ["A=1"]}])
def test_both_forms_of_mlx_launch_are_read(tmp_path: Path, content: Any) -> None:
    hostfile = read_hostfile(written(tmp_path, content))
    assert hostfile.names == ("localhost", "someone@there")
    assert hostfile.envs == (["A=1"] if isinstance(content, dict) else [])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", socket.gethostname()])
def test_the_first_host_is_this_machine(tmp_path: Path, name: str) -> None:
    assert read_hostfile(written(tmp_path, [{**HERE, "ssh": name}, THERE])).hosts[0].is_local


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([THERE, HERE], "its first host must be this machine, with localhost as its ssh name"),
        ([HERE], "it lists fewer than two hosts"),
        ([HERE, {**THERE, "ssh": "-oProxyCommand=x"}], "'-oProxyCommand=x' is no name of a host"),
        ([HERE, {"ssh": "there"}], "there has no IP address"),
        ({"hosts": [HERE, THERE], "backend": "mpi"}, "its backend is 'mpi'"),
        ([HERE, {"ips": ["10.0.0.2"]}], "is not one of mlx.launch"),
        ("no hosts", "is not one of mlx.launch"),
    ],
)
def test_a_hostfile_that_cannot_be_used_says_why(
    tmp_path: Path, content: Any, message: str
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ValueError, match=r"^The hostfile .*\.$") as raised:
        read_hostfile(file)
    assert message in str(raised.value)
    assert file in str(raised.value)
    with pytest.raises(TraitError, match=r"^MlxNotebookApp\.hostfile: The hostfile "):
        Configuration(hostfile=file)


def test_a_hostfile_that_is_not_there_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(TraitError, match="cannot be read: No such file or directory"):
        Configuration(hostfile=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("asked", "content", "backend"),
    [
        ("any", [HERE, THERE], "jaccl"),
        ("ring", [HERE, THERE], "ring"),
        ("any", {"hosts": [HERE, THERE], "backend": "jaccl-ring"}, "jaccl-ring"),
        ("any", [HERE, without(THERE, "rdma")], "ring"),
    ],
)
def test_rdma_is_used_where_every_host_has_it(
    tmp_path: Path, asked: str, content: Any, backend: str
) -> None:
    assert chosen_backend(asked, read_hostfile(written(tmp_path, content))) == backend


def test_settings_become_the_ranks_of_the_engine(tmp_path: Path) -> None:
    def ranks(**settings: Any) -> Any:
        return Configuration(**settings).engine_config(tmp_path, debug=False).distributed

    assert ranks() is None
    assert ranks(ranks=3).hosts == local_hosts(3).names == ("127.0.0.1",) * 3
    file = written(tmp_path, [HERE, THERE])
    both = ranks(hostfile=file, distributed_backend="ring")
    assert (both.hosts, both.hostfile) == (("localhost", "someone@there"), file)
    assert both.backend == "ring"
    with pytest.raises(TraitError, match="and not both"):
        ranks(hostfile=file, ranks=2)
