"""What is at an address: our server in many spellings, and other kinds of servers."""

import http.server
import json
import socket
import ssl
import threading

import pytest
import trustme

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.connection.clients import client_of
from mlx_notebook.notebook.connection.recognition import recognise
from mlx_notebook.notebook.errors import NoServer, NotebookError, ServerUnreachable
from mlx_notebook.notebook.server import transport
from mlx_notebook.notebook.server.server import Server
from tests.notebook.weather import Weather


@pytest.mark.parametrize(
    "ending",
    [
        *("", "v1", "v1/", "v1/chat/completions", "lab", "lab?token=abc", "tree", "mlx/status"),
        *("lab/tree/a/b.ipynb", "lab/workspaces/auto-1", "notebooks/a.ipynb", "login?next=x"),
    ],
)
def test_our_server_is_found_behind_each_of_its_pages(server, ending):
    assert recognise(server.url + ending) == server.url
    assert recognise(server.url.rstrip("/") + ("/" + ending if ending else "")) == server.url


@pytest.fixture
def web():
    """A web server that answers as `pages` says: path to status and body."""
    pages, seen = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Authorization"])
            status, body = pages.get(self.path, pages.get("*", (404, "")))
            self.send_response(status)
            if status in (301, 302, 308):
                self.send_header("Location", body)
            self.end_headers()
            self.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    running.url, running.pages, running.seen = (
        f"http://127.0.0.1:{running.server_port}/",
        pages,
        seen,
    )
    yield running
    running.shutdown()
    running.server_close()


MODELS = {"object": "list", "data": [{"id": "llama"}]}
REFUSED = {"error": {"message": "no key", "type": "authentication_error"}}


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"/v1/models": (200, MODELS)}, "serves OpenAI's API without mlx-notebook"),
        ({"/v1/models": (401, REFUSED)}, "serves OpenAI's API without mlx-notebook"),
        # LM Studio answers unknown paths with 200.
        (
            {"/v1/models": (200, MODELS), "*": (200, {"error": "Unexpected endpoint"})},
            "serves OpenAI's API without mlx-notebook",
        ),
        ({"/api": (200, {"version": "2.21"})}, "does not have mlx-notebook"),
        ({"/hub/api": (200, {"version": "6"})}, "is a JupyterHub"),
        ({"*": (302, "/hub/login?next=x")}, "is a JupyterHub"),
        ({"*": (308, "https://127.0.0.1/mlx/status")}, "wants TLS: `%mlx connect https://127"),
        ({"*": (400, "The plain HTTP request was sent to HTTPS port")}, "uses TLS: write https"),
        ({"*": (502, "Bad Gateway")}, "the server behind it does not"),
        ({"*": (200, "<html>hello</html>")}, "is not an mlx-notebook server"),
        ({"*": (401, REFUSED)}, "serves OpenAI's API without mlx-notebook"),
    ],
)
def test_another_kind_of_server_is_told_and_gets_no_token(web, monkeypatch, pages, said):
    monkeypatch.setenv("MLX_NOTEBOOK_TOKEN", "s3cret")
    web.pages.update(pages)
    for url in (web.url, web.url + "v1"):
        with pytest.raises(NoServer, match=said) as caught:
            recognise(url)
        assert "\n" not in str(caught.value)
    assert set(web.seen) == {None}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def secure(server, authority, request):
    """The server behind a proxy with TLS, whose certificate is for the name of the parameter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(request.param).configure_cert(context)
    with Weather(server.url, tls=context) as proxy:
        yield proxy


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("secure", ["localhost"], indirect=True)
def test_a_server_behind_tls_works(server, secure):
    assert recognise(secure.url + "v1") == secure.url
    try:
        found = connection.connect(secure.url, server.token)
        with client_of(found, max_retries=0) as client:
            answer = client.chat.completions.create(
                model="tiny-chat", max_tokens=3, messages=[{"role": "user", "content": "Hello"}]
            )
        assert answer.usage.completion_tokens <= 3
    finally:
        connection.disconnect()


@pytest.mark.parametrize("secure", ["localhost"], indirect=True)
def test_a_certificate_of_an_unknown_authority_is_told(secure):
    with pytest.raises(ServerUnreachable, match="set SSL_CERT_FILE to the file of the authority"):
        recognise(secure.url)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("secure", ["studio.example"], indirect=True)
def test_a_certificate_of_another_address_is_told(secure):
    with pytest.raises(ServerUnreachable, match="is for another address"):
        recognise(secure.url)


@pytest.mark.parametrize("secure", ["localhost"], indirect=True)
def test_http_and_https_taken_for_each_other_are_told(server, secure, monkeypatch):
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ServerUnreachable, match="does not speak TLS: write http://"):
        recognise(server.url.replace("http://", "https://"))
    with pytest.raises(ServerUnreachable, match="was closed without an answer"):
        recognise(secure.url.replace("https://", "http://"))


def test_a_server_that_says_nothing_does_not_hold_the_cell():
    mute = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
    with mute, pytest.raises(NotebookError, match="did not answer in time"):
        recognise(url, seconds=0.3)


def test_an_address_with_a_password_is_refused():
    with pytest.raises(NoServer, match="leave them out") as caught:
        recognise("http://me:pw@localhost:1/")
    assert "pw" not in str(caught.value)


def test_a_token_is_not_sent_when_there_is_none(web):
    web.pages["*"] = (404, "")
    with pytest.raises(NotebookError):
        Server(web.url, "").get("mlx/status")
    assert web.seen == [None]
