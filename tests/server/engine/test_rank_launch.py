"""The process that starts ranks and watches them, without a server."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from mlx_notebook.protocol import RANKS_ENDED, DistributedConfig, EngineConfig

HOST = {"ssh": "localhost", "ips": ["127.0.0.1"]}


def test_a_rank_that_cannot_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    # No Python can start so.
    content = {"hosts": [HOST, HOST], "envs": ["PYTHONHOME=/nowhere"]}
    (tmp_path / "hosts.json").write_text(json.dumps(content))
    config = EngineConfig(
        distributed=DistributedConfig(
            hosts=("localhost", "localhost"), hostfile=str(tmp_path / "hosts.json")
        )
    )
    addresses = [f"ipc://{tmp_path}/{name}" for name in ("commands", "frames")]
    with subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "mlx_notebook.server.engine.rank_launch"),
            *("--commands", addresses[0], "--frames", addresses[1]),
            *("--config", msgspec.json.encode(config).decode()),
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
        assert process.wait(60) == -signal.SIGKILL
    assert last.startswith(f"{RANKS_ENDED}rank ")
    assert " on localhost ended with code 1, last log line " in last
