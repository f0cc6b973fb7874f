"""The stop button ends a cell at each stage of an answer, and the next cell works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.notebook.jupyter import JupyterServer, wait_for

FAULTS = Path(__file__).parents[1] / "server" / "faults"
SETUP = '''
import pathlib, time
from mlx_notebook import AsyncChat, Chat
from mlx_notebook.notebook.rendering.text_renderers import SilentRenderer

def wait(seconds: int) -> str:
    """Wait."""
    began.touch()
    time.sleep(600)

class Shown(SilentRenderer):
    def add(self, delta):
        if delta.kind == "content":
            began.touch()

def made(kind, **options):
    return kind("tiny-chat", max_tokens=3500, extra_body={"ignore_eos": True}, **options)

def calling(kind, **options):
    """Make a chat whose model has called `wait`."""
    chat = made(kind, tools=[wait], **options)
    call = {"name": "wait", "arguments": '{"seconds": 600}'}
    chat.messages = [
        {"role": "user", "content": "Wait!"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function", "function": call}]},
    ]
    return chat
'''
NOTHING = "the model was stopped before its first word."
SO_FAR = "the model was stopped; the answer so far is kept."
CALLS = "stopped during the tool calls; `resume()` continues them."


class FaultyServer(JupyterServer):
    """A server whose engine is held at a stage as long as a file of its name is there."""

    def __init__(self, home: Path) -> None:
        self.faults, self.began = home / "faults", home / "began"
        self.faults.mkdir()
        paths = f"{FAULTS}:{Path(__file__).parents[2]}"
        super().__init__(home, FAULTS=str(self.faults), PYTHONPATH=paths)

    @contextmanager
    def held(self, fault: str | None) -> Iterator[None]:
        """Hold the engine where the fault is."""
        if fault:
            (self.faults / fault).touch()
        yield
        if fault:
            (self.faults / fault).unlink()

    def is_idle(self) -> bool:
        status = self.status()
        return not status["requests"] and not status["loading"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = FaultyServer(tmp_path_factory.mktemp("faulty"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def kernel(kernel, server):
    kernel.run(f"{SETUP}\nbegan = pathlib.Path({str(server.began)!r})")
    return kernel


STAGES = {
    # What holds the engine there, whether it is reached, what the cell says.
    "loading": ("loading", lambda server: server.status()["loading"], NOTHING),
    "first step": ("step", lambda server: server.status()["requests"], NOTHING),
    "decode": (None, lambda server: server.began.exists(), SO_FAR),
    "tool": (None, lambda server: server.began.exists(), CALLS),
    "approval": (None, None, CALLS),
}


@pytest.mark.parametrize("kind", ["Chat", "AsyncChat"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_stop_button_ends_a_cell_at_each_stage(kernel, server, stage, kind):
    fault, is_reached, said = STAGES[stage]
    server.began.unlink(missing_ok=True)
    wait = "await " if kind == "AsyncChat" else ""
    if stage in ("tool", "approval"):
        kernel.run(f"chat = calling({kind}, approve={stage == 'approval'})")
        code = f"{wait}chat.resume(show=True)"
    else:
        kernel.run(f"chat = made({kind})")
        code = f"{wait}chat.ask('Talk!', show=Shown())"
    if stage == "loading" and server.status()["models"]:
        server.request("mlx/models/unload", {"model": "tiny-chat"})

    def press_when_reached():
        try:
            wait_for(lambda: is_reached(server), what=stage)
        finally:
            kernel.interrupt()

    def press_when_asked():
        kernel.interrupt()
        yield "y"

    with server.held(fault):
        if is_reached is None:
            cell = kernel.run(code, check=False, answers=press_when_asked(), reading=0)
        else:
            finger = threading.Thread(target=press_when_reached)
            finger.start()
            cell = kernel.run(code, check=False)
            finger.join()
    assert cell.traceback == [f"{cell.ename}: {said}"]
    assert cell.ename in ("Interrupted", "CancelledError")
    wait_for(server.is_idle, what="the engine to be idle")
    assert server.began.exists() == (stage in ("decode", "tool"))
    assert kernel.run("%%chat --new --max-tokens 3\nHello!").outputs
