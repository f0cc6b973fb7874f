"""Stand in for ssh: run a command on this machine as if on another, with a terminal as `-tt` asks.

`STAND_IN_HOSTS` is JSON: for each `user@host` its network namespace (or none), its address, and the
address of the machine that connects; or what it says if it `refuses`. All other hosts are unknown.
"""

import json
import os
import pty
import select
import sys
import time
from pathlib import Path
from typing import Any


def install(folder: Path, hosts: dict[str, Any]) -> dict[str, str]:
    """Put it into a folder as `ssh`; returns the environment variables that make it be used."""
    script = folder / "ssh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} "$@"\n')
    script.chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "STAND_IN_HOSTS": json.dumps(hosts),
    }


def main() -> None:
    """Run the command, and end with its exit code."""
    arguments = sys.argv[1:]
    has_terminal = False
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        has_terminal = has_terminal or option == "-tt"
        if option == "-o":
            arguments.pop(0)
    name, command = arguments
    host = json.loads(os.environ["STAND_IN_HOSTS"]).get(name)
    if host is None:
        print(f"ssh: Could not resolve hostname {name}: Name or service not known", file=sys.stderr)
        sys.exit(255)
    if "refuses" in host:
        print(host["refuses"], file=sys.stderr)
        sys.exit(255)
    time.sleep(host.get("sleeps", 0))
    shell = ["/bin/bash", "-c", command]
    if host.get("namespace"):
        shell = ["ip", "netns", "exec", host["namespace"], *shell]
    kept = {
        variable: os.environ[variable] for variable in ("PATH", "TMPDIR") if variable in os.environ
    }
    env = {**kept, "HOME": "/", "SSH_CONNECTION": f"{host['seen']} 50000 {host['address']} 22"}
    if not has_terminal:
        os.execvpe(shell[0], shell, env)
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(shell[0], shell, env)
    sys.exit(copy(child, terminal))


def copy(child: int, terminal: int) -> int:
    """Pass data on until the command has ended, and return its exit code."""
    sources = {terminal: sys.stdout.fileno(), sys.stdin.fileno(): terminal}
    while terminal in sources:
        for source in select.select(list(sources), [], [])[0]:
            try:
                data = os.read(source, 65536)
            except OSError:  # the command has ended
                data = b""
            if data:
                os.write(sources[source], data)
            else:
                del sources[source]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256


if __name__ == "__main__":
    main()
