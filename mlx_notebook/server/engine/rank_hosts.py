"""Find out, before ranks are started, whether their hosts can be reached and can run them."""

import json
import random
import shlex
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions, version
from pathlib import Path

from mlx_notebook.server.engine.hostfile import Hostfile, RankHost, uses_rdma

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 20.0
_DISTRIBUTIONS = ("mlx-notebook", "mlx", "mlx-lm", "mlx-vlm")
# Systems give these ports to no outgoing connection.
_LOWEST_PORT, _HIGHEST_PORT = 20_000, 32_000
_ATTEMPTS = 50
# Runs on the other host. The address is the one from which this machine was seen to connect.
_QUESTION = f"""
import json, os
from importlib.metadata import version
versions = {{name: version(name) for name in {_DISTRIBUTIONS!r}}}
print(json.dumps([versions, os.environ.get("SSH_CONNECTION", "").split(" ")[0]]))
"""


class CannotStart(Exception):
    """The ranks cannot be started. The message names the host."""


def chosen_backend(asked: str, hostfile: Hostfile) -> str:
    """Return MLX's backend: the one asked for, that of the hostfile, or the best one for it."""
    for name in (asked, hostfile.backend):
        if name not in ("", "any"):
            return name
    if uses_rdma(hostfile):
        return "jaccl"
    return "nccl" if _has_cuda() else "ring"


def _has_cuda() -> bool:
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()
    return driver and any(
        str(found.metadata["Name"]).startswith("mlx-cuda") for found in distributions()
    )


def reach(hostfile: Hostfile) -> set[str]:
    """Ask every other host whether it can run a rank.

    Returns
    -------
    addresses
        The addresses under which the others see this machine.

    Raises
    ------
    CannotStart
        If one cannot.
    """
    elsewhere = {host.ssh: (rank, host) for rank, host in reversed([*enumerate(hostfile.hosts)])}
    others = [(rank, host) for rank, host in elsewhere.values() if not host.is_local]
    if not others:
        return set()
    with ThreadPoolExecutor(len(others)) as pool:
        return set(pool.map(_ask, *zip(*others, strict=True)))


def _ask(rank: int, host: RankHost) -> str:
    """Ask a host for its versions and compare them. Return the address that it sees."""
    name = f"rank {rank} on {host.ssh} cannot be started"
    question = shlex.join([sys.executable, "-P", "-c", _QUESTION])
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}")
    try:
        done = subprocess.run(
            ["ssh", *options, "-o", "LogLevel=ERROR", host.ssh, question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(f"{name}: it did not answer in {_ANSWER_SECONDS:g} seconds") from None
    except OSError as error:
        raise CannotStart(f"{name}: ssh cannot be run here: {error.strerror}") from None
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if done.returncode in (126, 127):
        raise CannotStart(
            f"{name}: it has no {sys.executable}. mlx-notebook must be installed there at the same "
            f"path as here ({said})"
        )
    try:
        versions, seen = json.loads(done.stdout.strip().rpartition("\n")[2])
    except (ValueError, TypeError):
        raise CannotStart(f"{name}: {said}") from None
    for distribution in _DISTRIBUTIONS:
        here, there = version(distribution), versions[distribution]
        if here != there:
            raise CannotStart(f"{name}: it has {distribution} {there}, and this machine {here}")
    return str(seen)


def leader_address(hostfile: Hostfile, backend: str, seen: set[str]) -> str:
    """Return the address of this machine that all other ranks can reach.

    Parameters
    ----------
    hostfile
        The hosts.
    backend
        MLX's backend. The first address of rank 0 is for all, except with a larger ring: there it
        is for a neighbour.
    seen
        The addresses under which the others see this machine.
    """
    first = hostfile.hosts[0].ips[0]
    if backend != "ring" or len(hostfile.hosts) == 2 or len(seen) != 1:
        return first
    (address,) = seen
    return address if address and _is_free(address, 0) else first


def free_ports(hostfile: Hostfile, address: str) -> tuple[int, int]:
    """Choose ports that are free here, one after the other.

    Returns
    -------
    first, count
        `count` ports from `first` on are for MLX's ring, and the next two for `address`.

    Raises
    ------
    CannotStart
        If the addresses of the hostfile are not those of this machine.
    """
    ring = [(host.is_local, ip) for host in hostfile.hosts for ip in host.ips or [""]]
    local = [(place, ip) for place, (is_local, ip) in enumerate(ring) if is_local and ip]
    count = len(ring)
    local += [(count, address), (count + 1, address)]
    for _ in range(_ATTEMPTS):
        first = random.randrange(_LOWEST_PORT, _HIGHEST_PORT)  # noqa: S311
        if all(_is_free(ip, first + place) for place, ip in local):
            return first, count
    addresses = ", ".join(sorted({ip for _, ip in local}))
    raise CannotStart(
        f"rank 0 on {hostfile.hosts[0].ssh} cannot listen on {addresses}: are these addresses of "
        "this machine?"
    )


def _is_free(ip: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True
