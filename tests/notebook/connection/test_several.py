"""Notebooks that share a server, and one whose server is restarted under it."""

import json
import shutil
import threading
from pathlib import Path

import pytest

import mlx_notebook
from tests.notebook.jupyter import JupyterServer, environment, kernel_alone, wait_for

TINY_CHAT = Path(mlx_notebook.__file__).parent / "demo_models" / "tiny-chat"
LOAD = "%load_ext mlx_notebook\nfrom mlx_notebook import conversation"


def test_two_notebooks_ask_one_server_at_the_same_time(server):
    kernels = [server.kernel() for _ in range(2)]
    try:
        for kernel in kernels:
            kernel.run(LOAD)
        before = server.status()["totals"]["requests"]
        names, threads = ("Ada", "Bob"), []
        for kernel, name in zip(kernels, names, strict=True):
            code = f"%%chat -t 0 --max-tokens 30\nMy name is {name}."
            threads.append(threading.Thread(target=kernel.run, args=(code,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        for kernel, name in zip(kernels, names, strict=True):
            kernel.run("%%chat -t 0 --max-tokens 30 --var said\nWhat is my name?")
            assert name in kernel.value("said")
        # The engine tells its totals four times a second.
        wait_for(lambda: server.status()["totals"]["requests"] == before + 4, what="the totals")
    finally:
        for kernel in kernels:
            kernel.stop()


def test_after_a_restart_of_the_server_the_next_cell_finds_it_and_goes_on(tmp_path):
    server = JupyterServer(tmp_path)
    kernel = kernel_alone(environment(tmp_path), tmp_path)
    try:
        assert f"connected to {server.url}" in kernel.run(LOAD).stdout
        kernel.run("%%chat -t 0 --max-tokens 30\nMy name is Ada.")
        server.stop()
        server = JupyterServer(tmp_path)
        kernel.run("%%chat -t 0 --max-tokens 30 --var said\nWhat is my name?")
        assert "Ada" in kernel.value("said")
        assert kernel.value("len(conversation().messages)") == 4
    finally:
        kernel.stop()
        server.stop()


@pytest.fixture
def home(tmp_path):
    """A home whose servers have a second model, `org/second`, beside the embedded ones."""
    shutil.copytree(TINY_CHAT, tmp_path / "models" / "org" / "second")
    config = {"MlxNotebookApp": {"models_dirs": [str(tmp_path / "models")]}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    return tmp_path


def answering(cell):
    return cell.outputs[-1]["text/plain"].partition(" · ")[0]


def test_what_another_notebook_loads_and_asks_changes_nothing_here(home):
    server = JupyterServer(home)
    one, two = kernels = [server.kernel() for _ in range(2)]
    ask = "%%chat -t 0 --max-tokens 5\nHello!"
    new = "_ = Chat(max_tokens=5).ask('Hello!', show=True)"
    try:
        assert "model tiny-chat" in one.run(LOAD).stdout
        for code in (LOAD, "from mlx_notebook import Chat", "%mlx load org/second"):
            two.run(code)
        assert [answering(two.run(code)) for code in (ask, new)] == ["org/second"] * 2
        assert server.status()["default_model"] == "org/second"
        one.run("from mlx_notebook import Chat")
        assert [answering(one.run(code)) for code in (ask, new)] == ["tiny-chat"] * 2
        assert "model: tiny-chat\n" in one.run("%mlx status").stdout
        one.run("%mlx reset")
        assert answering(one.run(ask)) == "tiny-chat"
        two.run("%mlx unload")
        assert answering(two.run(ask)) == "org/second"
        kernels.append(server.kernel())
        assert "model org/second" in kernels[-1].run(LOAD).stdout
    finally:
        for kernel in kernels:
            kernel.stop()
        server.stop()


def test_a_model_that_the_next_server_lacks_is_given_up_and_the_cell_says_so(home):
    server = JupyterServer(home)
    kernel = kernel_alone(environment(home), home)
    try:
        kernel.run(LOAD)
        kernel.run("%mlx load org/second")
        server.stop()
        shutil.rmtree(home / "models")
        server = JupyterServer(home)
        cell = kernel.run("%%chat -t 0 --max-tokens 5\nHello!")
        assert cell.stdout == (
            f"mlx_notebook: {server.url} has no model org/second. tiny-chat answers from now on.\n"
        )
        assert answering(cell) == "tiny-chat"
        assert kernel.run("%%chat --max-tokens 5\nHello!").stdout == ""
    finally:
        kernel.stop()
        server.stop()
