"""The search for a server: its order, what it passes over, and what it says when it fails."""

import http.server
import json
import os
import signal
import socket
import threading

import pytest

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NoServer, NotAuthorized, ServerSilent, ServerUnreachable
from tests.notebook.jupyter import JupyterServer


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No server is known, none is to be found, and starting one is an error."""
    for name in list(os.environ):
        if name.startswith(("MLX_NOTEBOOK_", "JUPYTERHUB_", "JPY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))

    def refuse():
        raise NoServer("nothing found")

    monkeypatch.setattr(connection, "_start", refuse)
    connection.disconnect()
    yield
    connection.disconnect()


def runtime_file(folder, number, **info):
    file = folder / f"jpserver-{number}.json"
    file.write_text(json.dumps({"pid": os.getpid(), "token": "t", **info}))
    return file


@pytest.fixture
def stranger():
    """A web server that is not ours: it answers everything, and remembers who asked for what."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(302 if "login" in self.path else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    web.url, web.seen = f"http://127.0.0.1:{web.server_port}/", seen
    yield web
    web.shutdown()
    web.server_close()


def test_the_variables_come_first(server, monkeypatch, tmp_path):
    runtime_file(tmp_path, 1, url="http://127.0.0.1:9/")
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setenv("MLX_NOTEBOOK_URL", server.url + "v1")
    monkeypatch.setenv("MLX_NOTEBOOK_TOKEN", server.token)
    found = connection.connect()
    assert (found.url, found.found) == (server.url, "named by MLX_NOTEBOOK_URL")


@pytest.mark.parametrize("page", ["", "lab", "tree"])
def test_the_address_that_jupyter_prints_holds_the_token(server, monkeypatch, page):
    monkeypatch.setenv("MLX_NOTEBOOK_URL", f"{server.url}{page}?token={server.token}")
    monkeypatch.setenv("MLX_NOTEBOOK_TOKEN", "of another server")
    found = connection.connect()
    assert (found.url, found.token) == (server.url, server.token)


def test_a_token_in_an_address_that_is_refused_is_not_shown():
    with pytest.raises(NoServer) as caught:
        connection.connect("localhost:8888/?token=secret")
    assert "secret" not in str(caught.value)


def test_the_server_above_comes_before_others(server, stranger, monkeypatch, tmp_path):
    runtime_file(tmp_path, 2, url=stranger.url)
    runtime_file(tmp_path, 1, url=server.url, token=server.token)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert connection.connect().found == "this Jupyter server"
    assert stranger.seen == []


def test_a_server_above_that_is_gone_is_left_for_another(server, monkeypatch, tmp_path):
    runtime_file(tmp_path, 1, url="http://127.0.0.1:9/")
    runtime_file(tmp_path, 2, url=server.url, token=server.token)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert connection.connect().found == "a running Jupyter server"


def test_a_server_that_hangs_is_told_and_not_doubled(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "PARENT_SECONDS", 0.3)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        runtime_file(tmp_path, 1, url=f"http://127.0.0.1:{mute.getsockname()[1]}/")
        with pytest.raises(ServerSilent, match="did not answer in time"):
            connection.connect()


def test_another_server_that_is_busy_is_waited_for(server, tmp_path):
    runtime_file(tmp_path, 1, url=server.url, token=server.token)
    server.process.send_signal(signal.SIGSTOP)
    goes_on = threading.Timer(4, server.process.send_signal, [signal.SIGCONT])
    goes_on.start()
    try:
        assert connection.connect().url == server.url
    finally:
        goes_on.join()


def test_other_servers_that_hang_share_their_time(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "OTHER_SECONDS", 2.5)
    waited = []
    real = connection._probe

    def probe(server, timeout):
        waited.append(timeout)
        real(server, timeout)

    monkeypatch.setattr(connection, "_probe", probe)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for number in (1, 2, 3):
            runtime_file(tmp_path, number, url=f"http://127.0.0.1:{mute.getsockname()[1]}/")
        with pytest.raises(NoServer, match="nothing found"):
            connection.connect()
    first, *others = waited
    assert first > 2
    assert others == [1.0, 1.0]


def test_a_hub_s_variables_lead_to_its_server(server, monkeypatch):
    origin, prefix = server.url.split("/a%40b")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", origin + "/a%40b" + prefix)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/a%40b/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    found = connection.connect()
    assert (found.url, found.found) == (server.url, "this JupyterHub server")
    connection.disconnect()
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", origin)
    assert connection.connect().url == server.url


def test_stale_foreign_and_broken_entries_are_passed_over(server, stranger, tmp_path):
    runtime_file(tmp_path, 1, url=server.url, token=server.token)
    (tmp_path / "jpserver-2.json").write_text("{half")
    (tmp_path / "jpserver-3.json").write_text("[]")
    runtime_file(tmp_path, 4, url="http://127.0.0.1:9/", pid=2**22 + 1)
    runtime_file(tmp_path, 5, url="http://127.0.0.1:9/")
    runtime_file(tmp_path, 6, url="http+unix://%2Ftmp%2Fx/")
    runtime_file(tmp_path, 7, url=stranger.url)
    runtime_file(tmp_path, 8, url=server.url, token="")
    runtime_file(tmp_path, 9, url=server.url, token="wrong")
    found = connection.connect()
    assert (found.url, found.token, found.found) == (
        server.url, server.token, "a running Jupyter server",
    )  # fmt: skip


def test_the_server_is_found_once_and_kept(server, tmp_path):
    file = runtime_file(tmp_path, 1, url=server.url, token=server.token)
    first = connection.connect()
    file.unlink()
    assert connection.connect() is first
    assert connection.default_model() == "tiny-chat"


def test_a_server_that_came_back_elsewhere_is_found_again(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "home" / "runtime"))
    urls = []
    for _ in range(2):
        server = JupyterServer(tmp_path / "home")
        try:
            found = connection.connect()
            assert (found.url, found.token) == (server.url, server.token)
            urls.append(found.url)
        finally:
            server.stop()
    assert urls[0] != urls[1]
    with pytest.raises(NoServer, match="nothing found"):
        connection.connect()


def test_a_wrong_token_is_told(server):
    with pytest.raises(NotAuthorized, match=r"refused .*: `%mlx connect http.* asks") as caught:
        connection.connect(server.url, "wrong")
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_told(server, monkeypatch):
    monkeypatch.setenv("MLX_NOTEBOOK_URL", server.url)
    monkeypatch.setenv("MLX_NOTEBOOK_TOKEN", "wrong")
    with pytest.raises(NotAuthorized, match="Is MLX_NOTEBOOK_TOKEN the token of"):
        connection.connect()


def test_nobody_at_the_address_is_told():
    with pytest.raises(ServerUnreachable, match=r"No server answers at http://127\.0\.0\.1:9/"):
        connection.connect("http://127.0.0.1:9", "t")
    with pytest.raises(ServerUnreachable, match="No server answers"):
        connection.connect()  # an address that was given is not left for another in silence


def test_a_token_crosses_a_network_in_the_clear_only_if_that_is_allowed():
    far = "http://far.invalid:1234"
    with pytest.raises(ValueError, match=r"no encryption.*ssh -N -L.*allow_http=True"):
        connection.connect(far, "t")
    with pytest.raises(ServerUnreachable):
        connection.connect(far, "t", allow_http=True)


def test_a_foreign_server_at_the_address_is_told(stranger):
    with pytest.raises(ServerUnreachable, match="is not an mlx-notebook server"):
        connection.connect(stranger.url, "t")


def test_a_token_does_not_follow_a_redirect(stranger):
    with pytest.raises(NotAuthorized, match="asks for a login"):
        connection.connect(stranger.url + "login", "t")
    assert [path for path, _ in stranger.seen] == ["/login/mlx/status"]


def test_a_jupyter_server_without_the_extension_is_told(tmp_path):
    server = JupyterServer(tmp_path, extension=False)
    try:
        with pytest.raises(NoServer, match="jupyter server extension enable mlx_notebook"):
            connection.connect(server.url, server.token)
    finally:
        server.stop()


def test_a_service_of_the_hub_is_used_or_nothing(monkeypatch, server):
    monkeypatch.setenv("JPY_PARENT_PID", str(server.process.pid))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", server.env["JUPYTER_RUNTIME_DIR"])
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    monkeypatch.setenv("MLX_NOTEBOOK_SERVICE_URL", server.url)
    assert connection.connect().found == "the service of this JupyterHub"
    connection.disconnect()
    monkeypatch.setenv("MLX_NOTEBOOK_SERVICE_URL", "http://127.0.0.1:9/services/mlx/")
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9/services/mlx"):
        connection.connect()
    monkeypatch.setenv("MLX_NOTEBOOK_SERVICE_URL", "services/mlx")
    with pytest.raises(NoServer, match="MLX_NOTEBOOK_SERVICE_URL"):
        connection.connect()
