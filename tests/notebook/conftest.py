"""One real Jupyter server for all tests of this folder, and a kernel below it for each file."""

import pytest

from tests.notebook.jupyter import JupyterServer, environment, kernel_alone


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    # Without it the default is the model that was used last, in whichever file of tests.
    default = "--MlxNotebookApp.default_model=tiny-chat"
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"), default)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def kernel(server):
    """A kernel below the server, with the extension loaded."""
    kernel = server.kernel()
    kernel.loaded = kernel.run("%load_ext mlx_notebook")
    yield kernel
    kernel.stop()


@pytest.fixture
def env(tmp_path):
    return environment(tmp_path)


@pytest.fixture
def start_kernel(env, tmp_path):
    """Start kernels that no Jupyter server stands above."""
    started = []

    def start(**extra):
        started.append(kernel_alone({**env, **extra}, tmp_path))
        return started[-1]

    yield start
    for kernel in started:
        kernel.stop()
