"""The pool of sandbox processes: started ahead, kept, and no more of them than needed."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from mlx_notebook.engine.sandbox import sandbox

TASK = sandbox.RenderTemplate(template="{{ 1 }}", messages=[{"role": "user"}], most=9)


def processes() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[sandbox.Sandbox]:
    # A process whose task takes long, as on a busy machine, is not kept.
    monkeypatch.setattr(sandbox, "_LONG_SECONDS", 60.0)
    box = sandbox.Sandbox()
    yield box
    for process in box._idle:
        process.kill()


def test_processes_that_were_started_ahead_do_the_first_tasks(box: sandbox.Sandbox) -> None:
    before = processes()
    box.start()
    ahead = processes() - before
    assert len(ahead) == sandbox.AHEAD
    for _ in range(3):
        assert box.run(TASK) == sandbox.RenderedText("1")
    assert processes() - before == ahead


def test_idle_processes_are_kept_up_to_an_amount_of_memory_in_all(
    box: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "AHEAD", 2)
    before = processes()
    box.start()
    box.run(TASK)
    (size,) = [process.idle_bytes for process in box._idle if process.idle_bytes]
    monkeypatch.setattr(sandbox, "_KEPT_BYTES", size * 3 // 2)
    box.run(TASK)
    assert len(processes() - before) == 2
    other = box._take()
    box.run(TASK)
    other.idle_bytes = size
    box._idle.append(other)
    box.run(TASK)
    # Two that have worked are too much together: the one that worked last is ended.
    assert len(processes() - before) == 1
    assert len(box._idle) == 1


def test_a_process_ends_quietly_when_the_engine_is_killed_while_it_sends_a_task() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", sandbox._MODULE, str(theirs.fileno()), "10"],
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        # The length of a message, as multiprocessing.connection writes it, and a part of it.
        ours.sendall(struct.pack("!i", 1000) + b"{")
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
