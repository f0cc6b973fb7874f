"""Read a hostfile: the machines of several ranks, in the format of `mlx.launch`."""

import socket
from pathlib import Path

import msgspec
from msgspec import Struct

LOCAL = "127.0.0.1"
"""What `mlx.launch` calls this machine. It reaches all others with ssh."""

BACKENDS = ("any", "ring", "jaccl", "jaccl-ring", "nccl")


class RankHost(Struct, frozen=True):
    """The host of one rank.

    Attributes
    ----------
    ssh
        Name for ssh, like `user@host`.
    ips
        Addresses for MLX's communication.
    rdma
        For jaccl: for each rank, the RDMA device that reaches it; null for the rank itself.
    """

    ssh: str
    ips: list[str] = []
    rdma: list[str | list[str] | None] = []

    @property
    def is_local(self) -> bool:
        """Whether this is the machine that the server runs on."""
        own = socket.gethostname()
        return self.ssh in (LOCAL, "localhost", own, own.partition(".")[0])


class Hostfile(Struct, frozen=True):
    """All ranks' hosts, MLX's backend, and environment variables (NAME=value) of all ranks."""

    hosts: list[RankHost]
    backend: str = ""
    envs: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each rank's host."""
        return tuple(host.ssh for host in self.hosts)


def local_hosts(ranks: int) -> Hostfile:
    """Return the hostfile of several ranks on this machine."""
    return Hostfile([RankHost(LOCAL, [LOCAL]) for _ in range(ranks)])


def read_hostfile(path: str) -> Hostfile:
    """Read and check a hostfile.

    Raises
    ------
    ValueError
        If it cannot be read or used. The message says why, in one sentence.
    """
    try:
        content = Path(path).expanduser().read_bytes()
        read = msgspec.json.decode(content, type=Hostfile | list[RankHost])
    except OSError as error:
        raise ValueError(f"The hostfile {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"The hostfile {path} is not one of mlx.launch: {error}.") from None
    hostfile = read if isinstance(read, Hostfile) else Hostfile(read)
    if (wrong := _problem(hostfile)) is not None:
        raise ValueError(f"The hostfile {path} cannot be used: {wrong}.")
    return hostfile


def _problem(hostfile: Hostfile) -> str | None:
    hosts = hostfile.hosts
    if len(hosts) < 2:
        return "it lists fewer than two hosts"
    if not hosts[0].is_local:
        return (
            f"its first host must be this machine, with localhost as its ssh name, and not "
            f"{hosts[0].ssh!r}"
        )
    for host in hosts:
        if host.ssh[:1] in ("", "-"):
            return f"{host.ssh!r} is no name of a host"
    if hostfile.backend and hostfile.backend not in BACKENDS:
        return f"its backend is {hostfile.backend!r}, and not one of {', '.join(BACKENDS)}"
    if uses_rdma(hostfile):
        return None if hosts[0].ips else "its first host has no IP address"
    without = next((host.ssh for host in hosts if not host.ips), None)
    return f"{without} has no IP address (ips)" if without is not None else None


def uses_rdma(hostfile: Hostfile) -> bool:
    """Return whether every host lists an RDMA device for every other one."""
    count = len(hostfile.hosts)
    return all(
        len(host.rdma) == count and sum(device is not None for device in host.rdma) == count - 1
        for host in hostfile.hosts
    )
