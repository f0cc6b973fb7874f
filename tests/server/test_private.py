"""A kernel's private server, and what is left of one that was killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from mlx_notebook.server.storage.run_folder import run_folder
from tests.server.running import wait_for

pytestmark = pytest.mark.slow


@contextmanager
def private(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start a private server whose temporary folders lie in `folder`; give its address too."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ, "TMPDIR": str(folder), "HOME": str(home), "JUPYTER_DATA_DIR": str(home),
        "JUPYTER_CONFIG_DIR": str(home), "JUPYTER_RUNTIME_DIR": str(home),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mlx_notebook.server.private"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"token": "x"}).encode() + b"\n")
        process.stdin.flush()
        url: str = json.loads(process.stdout.readline())["url"]
        yield process, url
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def folders(place: Path) -> set[str]:
    return {child.name for child in place.glob("mlx-notebook-*")}


def test_the_folder_of_a_killed_server_is_swept_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "mlx-notebook-of-mine").mkdir()
    with ExitStack() as servers:
        killed, _ = servers.enter_context(private(tmp_path))
        left = folders(tmp_path)
        assert len(left) == 2
        living, _ = servers.enter_context(private(tmp_path))
        both = folders(tmp_path)
        assert len(both) == 3
        killed.kill()
        killed.wait()
        assert folders(tmp_path) == both
        servers.enter_context(private(tmp_path))
        now = folders(tmp_path)
        assert len(now) == 3
        assert now & both == both - (left - {"mlx-notebook-of-mine"})
        assert living.poll() is None
    wait_for(lambda: folders(tmp_path) == {"mlx-notebook-of-mine"}, 10)


def test_it_takes_the_users_settings_and_keeps_its_own_token(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    config = {"MlxNotebookApp": {"max_batch": 3}, "IdentityProvider": {"token": "from-the-file"}}
    (tmp_path / "home" / "jupyter_server_config.json").write_text(json.dumps(config))

    def status(url: str, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}mlx/status", headers=headers, trust_env=False, timeout=60)

    with private(tmp_path) as (_, url):
        assert status(url, "x").raise_for_status().json()["queue"]["batch"] == 3
        assert status(url, "from-the-file").status_code == 401


def test_a_folder_goes_with_its_process() -> None:
    with run_folder() as folder:
        (folder / "file").touch()
        with run_folder() as other:
            assert other != folder
        assert (folder / "file").exists()
        assert not other.exists()
    assert not folder.exists()
