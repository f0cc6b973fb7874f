"""Start the ranks of an engine with `mlx.launch`, and end them all when one ends or the server.

The server runs this module in a process group of its own, with the options of the engine. Standard
input is a pipe that stays open as long as the server runs. `mlx.launch` would not notice its end.
Log lines of all ranks go to standard error. The last one says why the ranks ended.
"""

import argparse
import os
import re
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from mlx_notebook.protocol import RANK_WAITS, RANKS_ENDED, EngineConfig
from mlx_notebook.server.engine.hostfile import LOCAL, Hostfile, local_hosts, read_hostfile
from mlx_notebook.server.engine.rank_hosts import (
    CannotStart,
    chosen_backend,
    free_ports,
    leader_address,
    reach,
)

_START_SECONDS = 90.0
# `mlx.launch` ends the other ranks when one ends. After this they are killed.
_GRACE_SECONDS = 0.5
_LOST = re.compile(r"ERROR \S+\.rank_channel: (?:rank \d+ on .+?: )?(rank \d+ on .+)")
_ENDED = re.compile(r"Node with rank (\d+) (exited with code (-?\d+)|was killed|completed)")
_WAITS = re.compile(re.escape(RANK_WAITS) + r" (\d+)")
_COLOURS = re.compile(r"\x1b\[\d*m")


def main() -> None:
    """Start the ranks, and stay until they have ended."""
    parser = argparse.ArgumentParser(prog="python -m mlx_notebook.server.engine.rank_launch")
    parser.add_argument("--commands", required=True, help="ZMQ address for rank 0")
    parser.add_argument("--frames", required=True, help="a second one")
    parser.add_argument("--config", required=True, help="EngineConfig as JSON")
    options = parser.parse_args()
    folder = Path(options.commands.removeprefix("ipc://")).parent
    settings = msgspec.json.decode(options.config, type=EngineConfig)
    assert settings.distributed is not None
    ranks = settings.distributed
    try:
        hostfile = (
            read_hostfile(ranks.hostfile) if ranks.hostfile else local_hosts(len(ranks.hosts))
        )
        command, settings = _prepare(settings, hostfile, folder)
    except (CannotStart, ValueError, OSError) as error:
        _end(str(error))
    command += ["--commands", options.commands, "--frames", options.frames]
    command += ["--config", msgspec.json.encode(settings).decode()]
    _Ranks(command, hostfile, folder).run()


def _prepare(
    settings: EngineConfig, hostfile: Hostfile, folder: Path
) -> tuple[list[str], EngineConfig]:
    """Reach all hosts, and return the command for `mlx.launch` and the settings of the ranks."""
    assert settings.distributed is not None
    backend = chosen_backend(settings.distributed.backend, hostfile)
    hosts = hostfile.hosts
    address = leader_address(hostfile, backend, reach(hostfile))
    # The ring takes one port for each address of each host, in order, from the first one on.
    first, count = free_ports(hostfile, address)
    for_launch = msgspec.structs.replace(
        hostfile,
        backend=backend,
        hosts=[
            msgspec.structs.replace(host, ssh=LOCAL if host.is_local else host.ssh)
            for host in hosts
        ],
    )
    file = folder / "hosts.json"
    file.write_bytes(msgspec.json.encode(for_launch))
    on_one_host = max(hostfile.names.count(name) for name in hostfile.names)
    command = [
        *(sys.executable, "-P", str(Path(sysconfig.get_path("scripts")) / "mlx.launch")),
        *("--hostfile", str(file), "--backend", backend, "--repeat-hosts", str(on_one_host)),
        *("--starting-port", str(first), "--nccl-port", str(first), "--"),
        # -P: do not import a user's `random.py` from the working directory.
        *(sys.executable, "-P", "-m", "mlx_notebook.engine"),
    ]
    distributed = msgspec.structs.replace(
        settings.distributed,
        hosts=hostfile.names,
        backend=backend.removesuffix("-ring"),
        address=f"tcp://{address}:{first + count}",
        watch_address=f"tcp://{address}:{first + count + 1}",
    )
    return command, msgspec.structs.replace(settings, distributed=distributed)


class _Ranks:
    """The running ranks, under `mlx.launch`."""

    def __init__(self, command: list[str], hostfile: Hostfile, folder: Path) -> None:
        self._hosts = hostfile.names
        self._folder = folder
        # A password must not be asked for in a window.
        env = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
        if all(host.is_local for host in hostfile.hosts):
            # Ranks of one machine share its cores.
            share = max(1, (os.cpu_count() or 1) // len(self._hosts))
            env.setdefault("OPENBLAS_NUM_THREADS", str(share))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )
        self._missing = set(range(len(self._hosts)))
        self._reason: str | None = None
        self._last_line = ""
        self._deadline: float | None = time.monotonic() + _START_SECONDS

    def run(self) -> None:
        """Pass their log on until they have ended or must end, and end them."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        rests = {self._process.stdout.fileno(): b"", self._process.stderr.fileno(): b""}
        own_stdin = sys.stdin.fileno()
        with selectors.DefaultSelector() as selector:
            for descriptor in (own_stdin, *rests):
                selector.register(descriptor, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:
                ready = selector.select(self._seconds_left)
                if not ready:
                    self._end_late()
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    if key.fd == own_stdin:
                        if not data:
                            self._server_is_gone()
                        continue
                    if not data:
                        selector.unregister(key.fd)
                    *lines, rests[key.fd] = (rests[key.fd] + data).split(b"\n")
                    for line in lines:
                        self._take(_COLOURS.sub("", line.decode(errors="replace")).rstrip())
        if self._process.wait() != 0 or self._reason is not None:
            _end(self._reason or f"mlx.launch ended: {self._last_line}")

    @property
    def _seconds_left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _take(self, line: str) -> None:
        if (waits := _WAITS.search(line)) is not None:
            self._missing.discard(int(waits[1]))
            if not self._missing:
                self._give_secret()
            return
        if (ended := _ENDED.search(line)) is not None:
            self._rank_ended(int(ended[1]), ended[2], ended[3])
            return
        if line:
            print(line, file=sys.stderr, flush=True)
            self._last_line = line
        if (lost := _LOST.search(line)) is not None:
            _end(lost[1])

    def _give_secret(self) -> None:
        """Send the secret to all ranks. On a command line others could read it."""
        assert self._process.stdin is not None
        self._process.stdin.write(secrets.token_urlsafe(32).encode() + b"\n")
        self._process.stdin.flush()
        self._deadline = None

    def _rank_ended(self, rank: int, how: str, code: str | None) -> None:
        if how == "completed":
            return
        if self._reason is None:
            said = f", last log line {self._last_line[:300]!r}" if self._missing else ""
            with_code = f" with code {code}" if code is not None else ""
            self._reason = f"rank {rank} on {self._hosts[rank]} ended{with_code}{said}"
            self._deadline = time.monotonic() + _GRACE_SECONDS

    def _end_late(self) -> NoReturn:
        if self._reason is None:
            late = ", ".join(
                f"rank {rank} on {self._hosts[rank]}" for rank in sorted(self._missing)
            )
            self._reason = f"{late} did not start within {_START_SECONDS:g} seconds"
        _end(self._reason)

    def _server_is_gone(self) -> NoReturn:
        """Kill all ranks: those elsewhere lose their ssh connection, and end."""
        shutil.rmtree(self._folder, ignore_errors=True)
        _kill_all()


def _end(reason: str) -> NoReturn:
    """Say why the ranks end, and kill what is left of them."""
    print(f"{RANKS_ENDED}{reason}", file=sys.stderr, flush=True)
    _kill_all()


def _kill_all() -> NoReturn:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
