"""A real Jupyter server with the extension, in a process of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

TOKEN = "test-token"
_OTHER_EXTENSIONS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook")
HELLO = [{"role": "user", "content": "Hello!"}]


class RunningServer:
    """One server process, its log, and an HTTP client that is logged in."""

    def __init__(
        self,
        *,
        alone: bool = False,
        port: int = 0,
        base_url: str = "/nb/",
        options: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        token: str | None = TOKEN,
        descriptors: int | None = None,
        python: str = sys.executable,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mlxnb-test-"))
        # The others take seconds to load; the tests of notebooks and lab run with them.
        extensions = {"mlx_notebook": True, **dict.fromkeys(_OTHER_EXTENSIONS, False)}
        settings = {"ServerApp": {"jpserver_extensions": extensions}, **(config or {})}
        (self.folder / "jupyter_server_config.json").write_text(json.dumps(settings))
        command = ["mlx_notebook.server"] if alone else ["jupyter_server"]
        self.log_file = self.folder / "log"
        given = [f"--IdentityProvider.token={token}"] if token is not None else []
        limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors)]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(limited if descriptors is not None else ()),
                    *(python, "-m", *command, "--allow-root"),
                    *(f"--port={port}", f"--ServerApp.base_url={base_url}"),
                    *given,
                    *options,
                ],
                env={
                    **os.environ,
                    "JUPYTER_CONFIG_DIR": str(self.folder),
                    "JUPYTER_RUNTIME_DIR": str(self.folder),
                    "JUPYTER_DATA_DIR": str(self.folder),
                    "JUPYTER_NO_CONFIG": "",
                    "HF_HOME": str(self.folder / "hf"),
                    "HF_HUB_OFFLINE": "1",
                    **(env or {}),
                },
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        info = self._info()
        self.port: int = info["port"]
        self.url: str = f"http://127.0.0.1:{self.port}{info['base_url']}"
        self.token: str = info["token"]
        self.headers = {"Authorization": f"Bearer {self.token}"}
        self.client = httpx.Client(
            base_url=self.url, headers=self.headers, timeout=60, trust_env=False
        )

    def _info(self) -> dict[str, Any]:
        def read() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log
            for file in self.folder.glob("jpserver-*.json"):
                info: dict[str, Any] = json.loads(file.read_text() or "{}")
                with socket.socket() as probe:
                    if info and probe.connect_ex(("127.0.0.1", info["port"])) == 0:
                        return info
            return None

        return wait_for(read, 60)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def openai_url(self) -> str:
        return self.url + "v1"

    def chat(self, **changes: Any) -> httpx.Response:
        """Post a short chat, with changes to its parameters."""
        body = {"messages": HELLO, "max_tokens": 4, **changes}
        return self.client.post("v1/chat/completions", json=body)

    def works(self) -> bool:
        """Serve a good request."""
        response = self.chat(temperature=0, ignore_eos=True)
        assert response.status_code == 200, response.text
        return bool(response.json()["usage"]["completion_tokens"] == 4)

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.client.get("mlx/status").raise_for_status().json()
        return result

    def engine_pid(self) -> int:
        return wait_for(lambda: self.status()["engine"]["pid"], 60)

    def engine_pid_after_a_request(self) -> int:
        assert self.works()
        return self.engine_pid()

    def wait_until_idle(self, timeout: float = 30) -> dict[str, Any]:
        """Wait until nothing is in flight and the engine says so too."""

        def idle() -> dict[str, Any] | None:
            status = self.status()
            ended = status["totals"]["requests"] == sum(
                status["totals"][how] for how in ("finished", "cancelled", "failed")
            )
            return status if not status["requests"] and ended else None

        return wait_for(idle, timeout)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20) -> int:
        """Stop the server in order and make sure that none of its processes is left."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        self.client.close()
        self.process.send_signal(how)
        code = self.process.wait(timeout)
        _, left = psutil.wait_procs(family[1:], timeout=timeout)
        assert not left, left
        return code


def wait_for(what: Callable[[], Any], timeout: float, interval: float = 0.05) -> Any:
    """Call `what` until it returns something true."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(interval)
    raise AssertionError(f"nothing came of it in {timeout} s")


@contextmanager
def running(**settings: Any) -> Iterator[RunningServer]:
    server = RunningServer(**settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        server.client.close()
        shutil.rmtree(server.folder, ignore_errors=True)
