"""Who is let in without the token: programs on this machine, and only where the settings say so."""

import json
import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest

from mlx_notebook.server.api.foreign.local_programs import is_loopback
from tests.server.running import HELLO, RunningServer, running
from tests.tiny_models.models import qwen3

SHOW = json.dumps({"model": "tiny-chat"})
# One for all: each would read the system's certificates.
CLIENT = httpx.Client(trust_env=False, timeout=60)


@pytest.fixture(autouse=True, scope="module")
def closed() -> Iterator[None]:
    yield
    CLIENT.close()


@pytest.fixture(autouse=True)
def without_cookies() -> None:
    """Jupyter's own routes set some."""
    CLIENT.cookies.clear()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A standalone server with the setting, that listens to other machines too."""
    models = tmp_path_factory.mktemp("models")
    qwen3(models / "plain", template="{{ messages[0].content }}")
    options = (
        f"--MlxNotebookApp.models_dirs={models}",
        "--MlxNotebookApp.ollama_without_token=True",
        "--MlxNotebookApp.lmstudio_without_token=True",
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.ip=0.0.0.0",
        "--MlxNotebookApp.start_engine_at_startup=False",
    )
    with running(alone=True, base_url="/", options=options) as server:
        yield server


def asked(url: str, **headers: str) -> httpx.Response:
    """Ask about a model, as a program does that knows of no token."""
    # Browsers send this type for forms and for scripts that ask for no preflight.
    sent = {"Content-Type": "text/plain", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return CLIENT.post(url, headers=sent, content=SHOW)


def test_nobody_is_let_in_without_the_setting(server: RunningServer) -> None:
    answer = asked(server.url + "mlx/ollama/api/show")
    assert answer.status_code == 401
    assert "OLLAMA_API_KEY" in answer.json()["error"]


@pytest.mark.parametrize("path", ["api/show", "mlx/ollama/api/show"])
def test_a_program_on_this_machine_is_let_in(open_server: RunningServer, path: str) -> None:
    answer = asked(open_server.url + path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["capabilities"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Referer": "https://evil.example/"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Cookie": "a=b"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:1234"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"X_Forwarded_For": "203.0.113.5"},
        {"Forwarded": "for=203.0.113.5"},
        {"Via": "1.1 proxy"},
        {"Authorization": "Bearer wrong"},
        {"x_api_key": "wrong"},
    ],
    ids=lambda header: " ".join(*header.items()).replace("/", ""),
)
def test_web_pages_proxies_and_wrong_tokens_are_not_let_in(
    open_server: RunningServer, header: dict[str, str]
) -> None:
    answer = asked(open_server.url + "api/show", **header)
    assert answer.status_code in (400, 401, 403), answer.text
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_the_server_itself_needs_the_token(open_server: RunningServer) -> None:
    answer = asked(open_server.url + "api/show", Origin=open_server.url.rstrip("/"))
    assert answer.status_code == 401


def test_a_preflight_allows_no_page(open_server: RunningServer) -> None:
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = CLIENT.options(open_server.url + "api/show", headers=asks)
    assert "access-control-allow-origin" not in answer.headers


def test_another_machine_needs_the_token(open_server: RunningServer) -> None:
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not is_loopback(address.address)
    ]
    if not own:
        pytest.skip("this machine has no address but its loopback")
    answer = asked(f"http://{own[0]}:{open_server.port}/api/show", Host="localhost")
    assert answer.status_code == 401, answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/models"),
        ("POST", "v1/chat/completions"),
        ("POST", "v1/messages"),
        ("GET", "mlx/status"),
        ("GET", "mlx/traces"),
        ("POST", "mlx/models/download"),
        ("POST", "tokenize"),
        ("GET", "api/status"),
        ("POST", "api/shutdown"),
        ("GET", "mlx/ollama/nonesuch"),
    ],
)
def test_no_other_route_is_opened(open_server: RunningServer, method: str, path: str) -> None:
    answer = CLIENT.request(method, open_server.url + path, content=b"{}")
    assert answer.status_code in (401, 403), answer.text


@pytest.mark.parametrize("path", ["api/v0/models/tiny-chat", "mlx/lmstudio/api/v1/models"])
def test_programs_for_lm_studio_are_let_in_and_pages_are_not(
    open_server: RunningServer, path: str
) -> None:
    answer = CLIENT.get(open_server.url + path)
    assert answer.status_code == 200, answer.text
    assert "tiny-chat" in answer.text
    page = {"Origin": "https://evil.example"}
    assert CLIENT.get(open_server.url + path, headers=page).status_code in (401, 403)


def test_mcp_servers_and_downloads_of_lm_studio_need_the_token(open_server: RunningServer) -> None:
    for path, body in (
        ("chat", {"model": "tiny-chat", "input": "Hi", "integrations": ["mcp/small"]}),
        ("models/download", {"model": "org/nonesuch"}),
    ):
        refused = CLIENT.post(f"{open_server.url}api/v1/{path}", json=body)
        assert refused.status_code == 403, refused.text
        assert "token" in refused.json()["error"]["message"]


def test_a_model_that_does_not_reason_is_not_asked_to(open_server: RunningServer) -> None:
    body = {"model": "plain", "messages": HELLO, "think": True}
    refused = CLIENT.post(open_server.url + "api/chat", json=body)
    assert refused.status_code == 400
    assert "'think'" in refused.json()["error"]


def test_ollamas_command_line_finds_the_server(open_server: RunningServer) -> None:
    assert CLIENT.head(open_server.url).status_code == 200
    version = CLIENT.get(open_server.url + "api/version").json()
    assert set(version) == {"version", "server"}


def test_what_only_ollama_has_is_refused_in_its_format(open_server: RunningServer) -> None:
    for verb, path in (("POST", "api/me"), ("GET", "api/nonesuch"), ("PUT", "api/experimental/x")):
        refused = CLIENT.request(verb, open_server.url + path, headers=open_server.headers)
        assert refused.status_code == 404
        assert set(refused.json()) == {"error"}, path
        assert isinstance(refused.json()["error"], str)
    assert (
        "kernels" in CLIENT.get(open_server.url + "api/status", headers=open_server.headers).json()
    )


def test_nothing_is_downloaded_without_the_token(open_server: RunningServer) -> None:
    url, body = open_server.url + "api/pull", {"model": "org/nonesuch"}
    refused = CLIENT.post(url, json=body)
    assert refused.status_code == 403
    assert "auto_download" in refused.json()["error"]
    known = CLIENT.post(url, json=body, headers=open_server.headers)
    assert "HF_HUB_OFFLINE" in known.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "::1"])
def test_a_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "0.0.0.0", "192.168.1.2", "[::]", "::ffff:10.0.0.1", "2130706433"]
)
def test_other_hosts_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
