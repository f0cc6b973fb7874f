"""Notebooks that share a server, and one whose server is restarted under it."""

import threading

from tests.notebook.jupyter import JupyterServer, environment, kernel_alone, wait_for

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
