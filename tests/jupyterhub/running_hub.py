"""A real JupyterHub with its proxy, the service, and notebook servers of users."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from jupyter_client import BlockingKernelClient

from tests.notebook.jupyter import Kernel
from tests.server.running import RunningServer, wait_for

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "operations" / "jupyterhub_config.py"
# What differs from a class: free ports below a prefix, no passwords, no users of the system.
_CHANGES = """
import json
import os

from jupyterhub.services import service as services
from traitlets import Integer


class _Watched(services._ServiceSpawner):
    poll_interval = Integer(1)


# The Hub looks after its services every 30 seconds, and no setting changes that.
services._ServiceSpawner = _Watched
given = json.loads(os.environ["TEST_HUB"])
c.JupyterHub.base_url = given["base_url"]
load_subconfig({example!r})

service = c.JupyterHub.services[0]
del service["user"]
service["url"] = given["service"]
service["command"] += ["--allow-root"]
service["environment"] |= given["environment"]
c.Spawner.environment = {{
    **given["environment"],
    "MLX_NOTEBOOK_SERVICE_URL": given["service"] + given["base_url"] + "services/mlx/",
}}
c.JupyterHub.services += [
    {{"name": "tester", "api_token": given["token"]}},
    {{"name": "elsewhere", "api_token": given["token"] * 2, "url": given["elsewhere"]}},
]
c.JupyterHub.load_roles += [{{
    "name": "tester",
    "scopes": ["admin:users", "admin:servers", "tokens", "access:servers", "read:roles"],
    "services": ["tester"],
}}]
c.JupyterHub.ip, c.JupyterHub.port = "127.0.0.1", given["port"]
c.JupyterHub.hub_bind_url = given["hub"]
c.ConfigurableHTTPProxy.api_url = given["proxy_api"]
c.ConfigurableHTTPProxy.command = given["proxy"]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"head"}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = given["homes"] + "/{{username}}"
c.Spawner.args = [
    *("--allow-root", "--ServerApp.jpserver_extensions={{'jupyter_lsp': False}}"),
    *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path) -> dict[str, str]:
    """Jupyter folders of the test's own, and no way to the real hub of models."""
    kept = ("MLX_NOTEBOOK_", "JUPYTER", "JPY_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(kept)}
    # The Hub looks for `jupyterhub-singleuser` there. The environment may not be activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    return {**env, **_passed_on(folder), "PATH": path}


def _passed_on(folder: Path) -> dict[str, str]:
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "huggingface"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "PYTHONPATH": str(ROOT),
    }


class RunningHub:
    """A JupyterHub at a prefix, with the example of the documentation as its configuration."""

    def __init__(self, folder: Path, proxy: Path) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        ports = [free_port() for _ in range(5)]
        self.origin, hub, proxy_api, service, elsewhere = (
            f"http://127.0.0.1:{port}" for port in ports
        )
        self.base_url = "/class/"
        self.url = self.origin + self.base_url
        self.service_url = f"{self.url}services/mlx/"
        # Without the proxy, as notebook servers reach it.
        self.direct_url = f"{service}{self.base_url}services/mlx/"
        # A service that the Hub does not start. It is there first, since the Hub waits for it.
        self.external = RunningServer(
            alone=True,
            token=None,
            port=ports[-1],
            base_url=f"{self.base_url}services/elsewhere/",
            env={
                "JUPYTERHUB_SERVICE_NAME": "elsewhere",
                "JUPYTERHUB_API_TOKEN": self.token * 2,
                "JUPYTERHUB_API_URL": f"{hub}{self.base_url}hub/api",
                "JUPYTERHUB_BASE_URL": self.base_url,
                "JUPYTERHUB_SERVICE_URL": elsewhere,
            },
        )
        homes = folder / "homes"
        given = {
            "base_url": self.base_url,
            "port": ports[0],
            "hub": hub,
            "proxy_api": proxy_api,
            "service": service,
            "elsewhere": elsewhere,
            "token": self.token,
            "proxy": [str(proxy)],
            "homes": str(homes),
            "environment": _passed_on(folder),
        }
        (folder / "config").mkdir(parents=True, exist_ok=True)
        config = folder / "jupyterhub_config.py"
        config.write_text(_CHANGES.format(example=str(EXAMPLE)))
        self.log_file = folder / "log"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                env={
                    **_environment(folder),
                    "TEST_HUB": json.dumps(given),
                    "HOME": str(folder / "home"),
                },
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(self._is_up, 90)
        except BaseException:
            self.stop()
            raise

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            # The service answers: without a token it is not allowed.
            return httpx.get(self.service_url + "v1/models", trust_env=False).status_code == 401
        except httpx.HTTPError:
            return False

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to the Hub's own API, with the rights of the test."""
        response = self._request(method, path, body)
        assert response.status_code < 400, f"{response.status_code} {response.text}\n{self.log}"
        return response.json() if response.content else None

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.url}hub/api/{path}",
            headers={"Authorization": f"token {self.token}"},
            json=body,
            timeout=60,
            trust_env=False,
        )

    def user_token(self, user: str, *scopes: str) -> str:
        """Return a new token of a user, with all rights of the user if no scopes are named."""
        body = {"scopes": list(scopes)} if scopes else {}
        return str(self.api("POST", f"users/{user}/tokens", body)["token"])

    def service(self, token: str) -> httpx.Client:
        """Return a client of the service, through the Hub's proxy."""
        return httpx.Client(
            base_url=self.service_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )

    @contextmanager
    def without_service(self) -> Iterator[None]:
        """End the service and hold the Hub, which starts it again when the block ends."""
        hub = psutil.Process(self.process.pid)
        (service,) = (each for each in hub.children() if "mlx_notebook.server" in each.cmdline())
        hub.suspend()
        try:
            service.terminate()
            # The held Hub does not collect the ended process, which nothing else tells apart.
            wait_for(lambda: service.status() == psutil.STATUS_ZOMBIE, 30)
            yield
        finally:
            hub.resume()

    def spawn(self, user: str) -> "NotebookServer":
        """Start the notebook server of a user, and wait until it runs."""
        # The Hub looks for a free port and lets it go before the server takes it. Another test may
        # take it in between: the server then ends at once, and the Hub answers 500.
        for _ in range(2):
            if self._request("POST", f"users/{user}/server").status_code < 400:
                break
            wait_for(lambda: not self.api("GET", f"users/{user}")["pending"], 60, 0.2)
        else:
            self.api("POST", f"users/{user}/server")

        def ready() -> bool:
            state = self.api("GET", f"users/{user}")["servers"].get("", {})
            assert state.get("pending") != "failed", self.log
            return bool(state.get("ready"))

        wait_for(ready, 120, 0.2)
        token = self.user_token(user, f"access:servers!user={user}")
        return NotebookServer(f"{self.url}user/{user}/", token, self.folder / "homes" / user)

    def stop(self) -> None:
        self.external.stop()
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NotebookServer:
    """A user's notebook server, reached through the Hub's proxy with a token of the user."""

    def __init__(self, url: str, token: str, home: Path) -> None:
        self.url, self.token = url, token
        self._runtime = home / ".local" / "share" / "jupyter" / "runtime"
        self.client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )

    def kernel(self) -> Kernel:
        """Start a kernel the way JupyterLab does, and connect to it."""
        id = self.client.post("api/kernels", json={}).raise_for_status().json()["id"]
        file = self._runtime / f"kernel-{id}.json"
        wait_for(file.exists, 60)
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        return Kernel(
            client,
            lambda: self.client.post(f"api/kernels/{id}/interrupt"),
            end=lambda: self.client.delete(f"api/kernels/{id}").raise_for_status(),
        )
