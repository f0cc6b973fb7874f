"""Real Jupyter servers and real kernels, and what a frontend would see of their cells."""

import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_client import BlockingKernelClient, KernelManager

import mlx_notebook
from mlx_notebook.notebook.tools.approval import MIN_ANSWER_SECONDS

PATIENCE = 120.0


def environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment with Jupyter folders of its own, in which no other server is to be found."""
    ours = ("MLX_NOTEBOOK_", "JUPYTER", "JPY_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    for variable, folder in (
        ("JUPYTER_RUNTIME_DIR", "runtime"),
        ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTER_DATA_DIR", "data"),
        ("IPYTHONDIR", "ipython"),
    ):
        (home / folder).mkdir(parents=True, exist_ok=True)
        env[variable] = str(home / folder)
    # Kernels run in folders of their own.
    env["PYTHONPATH"] = str(Path(mlx_notebook.__file__).parents[1])
    # The server would remember the model used last across tests.
    env["XDG_STATE_HOME"] = env["XDG_CACHE_HOME"] = str(home / "state")
    # What is downloaded in tests comes from a stand-in of the hub.
    env["HF_HUB_OFFLINE"] = "1"
    return {**env, **extra}


def wait_for(condition, seconds=PATIENCE, what="it"):
    """Give the first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what} in vain")


class JupyterServer:
    """`jupyter server` with the extension, as a user runs it."""

    def __init__(self, home: Path, *arguments: str, extension: bool = True, **extra: str):
        self.token = secrets.token_hex(16)
        self.env = environment(home, JUPYTER_TOKEN=self.token, **extra)
        self.log = (home / "server.log").open("ab")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root",
                f"--ServerApp.jpserver_extensions={{'mlx_notebook': {extension}}}",
                "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", "--ServerApp.base_url=/a%40b/",
                *arguments,
            ],
            env=self.env, cwd=home, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        file = home / "runtime" / f"jpserver-{self.process.pid}.json"
        try:
            wait_for(file.exists, what="the server's runtime file")
            self.url = json.loads(wait_for(file.read_text))["url"]
            wait_for(lambda: self.answers("api"), what="the server")
        except BaseException:
            self.stop()
            raise

    def request(self, path, body=None, method=None):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or b"null")

    def answers(self, path):
        try:
            return self.request(path)
        except OSError:
            return None

    def status(self):
        return self.request("mlx/status")

    def kernel(self):
        """Start a kernel the way JupyterLab does, and connect to it."""
        number = self.request("api/kernels", {})["id"]
        file = Path(self.env["JUPYTER_RUNTIME_DIR"]) / f"kernel-{number}.json"
        wait_for(file.exists, what="the kernel's connection file")
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        path = f"api/kernels/{number}"
        return Kernel(
            client,
            lambda: self.request(f"{path}/interrupt", {}),
            end=lambda: self.request(path, method="DELETE"),
        )

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def kernel_alone(env, cwd):
    """Start a kernel the way VS Code does: no Jupyter server above it."""
    for _ in range(3):
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env=env, cwd=str(cwd))
        try:
            return Kernel(manager.blocking_client(), manager.interrupt_kernel, manager)
        except KernelEnded:  # another process took a port that was free a moment ago
            manager.cleanup_resources()
    raise AssertionError("three kernels ended while they started")


@dataclass
class Cell:
    """What a frontend shows of a cell after it ran; `sent` are all characters of its displays."""

    status: str = "?"
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    outputs: list[dict] = field(default_factory=list)
    updates: int = 0
    sent: int = 0
    seconds: float = 0.0
    shown_help: str = ""
    asked: list[str] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    next_input: str = ""

    @property
    def said(self):
        """All text: a slow order leaves its words in its bar's place, a quick one prints them."""
        return self.stdout + "".join(output.get("text/plain", "") for output in self.outputs)

    @property
    def markdown(self):
        return [output.get("text/markdown") for output in self.outputs]


def _name_cells(client):
    """Have requests name their cell, as those of JupyterLab and VS Code do."""
    message = client.session.msg

    def named(kind, content=None, parent=None, header=None, metadata=None):
        metadata = {"cellId": "cell", **(metadata or {})}
        return message(kind, content, parent, header, metadata)

    client.session.msg = named


class KernelEnded(Exception):
    """A kernel ended before it answered."""


class Kernel:
    """A running kernel, driven one cell at a time.

    `end` tells its server to end it: a kernel that ends by itself is started again.
    """

    def __init__(self, client, interrupt, manager=None, end=None):
        self.client, self.interrupt, self.manager, self._end = client, interrupt, manager, end
        _name_cells(client)
        client.start_channels()
        wait_for(self._hears_us, what="the kernel")

    def _hears_us(self):
        """Whether both channels work; jupyter_client's own wait takes a slow start for a death."""
        try:
            self.client.kernel_info()
            self.client.get_shell_msg(timeout=2)
            self.client.get_iopub_msg(timeout=2)
        except queue.Empty:
            if self.manager is not None and not self.manager.is_alive():
                self.client.stop_channels()
                raise KernelEnded from None
            return False
        return True

    def run(
        self,
        code,
        *,
        interrupt_after=None,
        check=True,
        timeout=PATIENCE,
        answers=None,
        reading=MIN_ANSWER_SECONDS + 0.1,
    ):
        """Run a cell to its end.

        `interrupt_after` so many seconds press the stop button, counted from when the kernel has
        taken the cell: before, an interrupt would not reach it.

        `answers` are typed, one after the other, where the cell asks with `input()`, each after
        `reading` seconds; without them nobody is there to be asked.
        """
        cell, displays = Cell(), {}
        answers = None if answers is None else iter(answers)

        def type_in(message):
            cell.asked.append(message["content"]["prompt"])
            cell.hidden.append(message["content"]["password"])
            cell.outputs.append({"asked": message["content"]["prompt"]})
            time.sleep(reading)
            self.client.input(next(answers, "n"))

        timer = threading.Timer(interrupt_after or 0, self.interrupt)

        def see(message):
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "execute_input" and interrupt_after is not None:
                timer.start()
            elif kind == "stream":
                name = content["name"]
                setattr(cell, name, getattr(cell, name) + content["text"])
            elif kind in ("display_data", "execute_result"):
                cell.sent += sum(map(len, content["data"].values()))
                cell.outputs.append(content["data"])
                number = content.get("transient", {}).get("display_id")
                displays[number] = len(cell.outputs) - 1
            elif kind == "update_display_data":
                cell.updates += 1
                cell.sent += sum(map(len, content["data"].values()))
                at = displays.get(content["transient"]["display_id"])
                if at is not None:
                    cell.outputs[at] = content["data"]
            elif kind == "error":
                cell.traceback = content["traceback"]

        began = time.monotonic()
        reply = self.client.execute_interactive(
            code,
            output_hook=see,
            timeout=timeout,
            store_history=True,
            allow_stdin=answers is not None,
            stdin_hook=type_in,
        )["content"]
        cell.seconds = time.monotonic() - began
        timer.cancel()
        cell.status, cell.ename = reply["status"], reply.get("ename", "")
        cell.evalue = reply.get("evalue", "")
        pages = [page["data"]["text/plain"] for page in reply.get("payload", []) if "data" in page]
        cell.next_input = "".join(page.get("text", "") for page in reply.get("payload", []))
        cell.shown_help = "".join(pages)
        assert not check or cell.status == "ok", (cell.ename, cell.evalue, cell.stderr)
        return cell

    def value(self, expression):
        """Value of a Python expression in the kernel, through JSON."""
        cell = self.run(f"import json as _j; print('\\x02' + _j.dumps({expression}) + '\\x03')")
        return json.loads(cell.stdout.split("\x02")[1].split("\x03")[0])

    def complete(self, code):
        message = self.client.complete(code, reply=True, timeout=PATIENCE)
        return message["content"]["matches"]

    def stop(self):
        if self.manager is not None:
            self.manager.shutdown_kernel(now=True)
        else:
            with suppress(OSError):  # the test has ended it, or its server
                self._end()
        self.client.stop_channels()
