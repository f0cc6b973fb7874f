"""A kernel with no Jupyter server above it starts a server of its own, which ends with it."""

import os
import signal
import threading
import time

import psutil
import pytest

from tests.notebook.jupyter import wait_for

PROCESS = (
    "__import__('sys').modules['mlx_notebook.notebook.connection.connection']._private.process.pid"
)


def server_processes(kernel):
    """The private server of a kernel and what it started."""
    server = psutil.Process(kernel.value(PROCESS))
    return [server, *server.children(recursive=True)]


def gone(processes):
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


@pytest.mark.parametrize("death", ["shutdown", "kill -9"])
def test_it_answers_and_ends_with_its_kernel(start_kernel, death):
    kernel = start_kernel()
    loaded = kernel.run("%load_ext mlx_notebook").stdout
    assert "(started for this kernel); model tiny-chat" in loaded
    assert loaded.count("\n") == 1
    kernel.run("%%chat --max-tokens 5 --var answer\nHello!")
    processes = server_processes(kernel)
    assert len(processes) >= 2  # the server and its engine
    listening = [c.laddr for c in processes[0].net_connections() if c.status == "LISTEN"]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    if death == "kill -9":
        os.kill(kernel.value("__import__('os').getpid()"), signal.SIGKILL)
    else:
        kernel.manager.shutdown_kernel()
    wait_for(lambda: gone(processes), 15, "the private server to end")


def test_its_token_is_on_no_command_line_and_it_is_nobody_else_s(start_kernel, env):
    first, second = start_kernel(), start_kernel()
    for kernel in (first, second):
        kernel.run("%load_ext mlx_notebook")
    assert first.value(PROCESS) != second.value(PROCESS)
    token = first.value("__import__('mlx_notebook').connect().token")
    for process in server_processes(first):
        assert token not in " ".join(process.cmdline())
    assert not [f for f in os.listdir(env["JUPYTER_RUNTIME_DIR"]) if f.startswith("jpserver")]


def test_it_is_started_again_when_it_died(start_kernel):
    kernel = start_kernel()
    kernel.run("%load_ext mlx_notebook")
    processes = server_processes(kernel)
    processes[0].kill()
    wait_for(lambda: gone(processes), 15, "the engine to follow its server")
    kernel.run("%%chat --max-tokens 5\nHello!")
    assert kernel.value(PROCESS) != processes[0].pid


def test_a_fork_of_the_kernel_does_not_end_it(start_kernel):
    kernel = start_kernel()
    kernel.run("%load_ext mlx_notebook")
    before = kernel.value(PROCESS)
    kernel.run(
        "import os, mlx_notebook.notebook.connection.connection as c\n"
        "if (pid := os.fork()) == 0:\n    c.disconnect(); os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    kernel.run("%%chat --max-tokens 5\nHello!")
    assert kernel.value(PROCESS) == before


def test_a_server_that_cannot_start_says_why(start_kernel, env, tmp_path):
    (tmp_path / "jupyter_server.py").write_text("raise ImportError('a broken installation')\n")
    kernel = start_kernel(PYTHONPATH=f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}")
    loaded = kernel.run("%load_ext mlx_notebook").stdout
    assert loaded.startswith("mlx_notebook: The server started for this kernel stopped at once: ")
    assert "ImportError: a broken installation" in loaded
    assert loaded.count("\n") == 1
    cell = kernel.run("%%chat\nHello!", check=False)
    assert (cell.ename, len(cell.traceback)) == ("PrivateServerFailed", 1)


def test_a_wrong_variable_is_told_and_nothing_else_tried(start_kernel):
    kernel = start_kernel(MLX_NOTEBOOK_URL="http://127.0.0.1:9/")
    loaded = kernel.run("%load_ext mlx_notebook").stdout
    assert loaded.startswith("mlx_notebook: No server answers at http://127.0.0.1:9/")
    cell = kernel.run("%%chat\nHello!", check=False)
    assert (cell.ename, len(cell.traceback)) == ("ServerUnreachable", 1)


def test_interrupting_while_it_starts_leaves_nothing_behind(start_kernel):
    kernel = start_kernel()
    me = psutil.Process(kernel.value("__import__('os').getpid()"))

    def press_stop_when_it_starts():
        wait_for(me.children, what="a server to start")
        time.sleep(0.1)
        kernel.interrupt()

    presser = threading.Thread(target=press_stop_when_it_starts)
    presser.start()
    cell = kernel.run("%load_ext mlx_notebook", check=False)
    presser.join()
    assert "connected to" not in cell.stdout

    def has_ended():
        # One that ended late is a zombie until the kernel starts its next process.
        return all(child.status() == psutil.STATUS_ZOMBIE for child in me.children())

    wait_for(has_ended, 60, "the half-started server to end")
    kernel.run("%reload_ext mlx_notebook\n%chat --max-tokens 3 Hello")
