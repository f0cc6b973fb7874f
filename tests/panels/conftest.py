"""A server for each file, and a connection to it for each test that wants one."""

import pytest

from mlx_notebook.notebook.connection import connection
from tests.server.running import running


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture
def connected(server):
    connection.connect(server.url, server.token)
    yield server
    connection.disconnect()
