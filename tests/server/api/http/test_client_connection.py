import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_clients_that_were_cut_off_are_given_up_and_slow_ones_kept(models_dir: Path) -> None:
    own_network = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*own_network, "true"]).returncode:
        pytest.skip("no network can be unplugged here: `unshare --net` is not allowed")
    ran = subprocess.run(
        [*own_network, sys.executable, "-m", "tests.server.stand_ins.unplugged", str(models_dir)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert "all clients were given up" in ran.stdout
