"""A service asks a Hub that is slow or away. The Hub is a stand-in, so that it can fail."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.server.running import RunningServer, running

SCOPE = "access:services!service=mlx"


class HubInTrouble(ThreadingHTTPServer):
    """A Hub that knows `ann` and a service `robot`, is late for `slow`, and fails for others."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: Counter[str] = Counter()
        self.may_answer = threading.Event()
        self.slow_one_waits = threading.Event()


class _Answer(BaseHTTPRequestHandler):
    server: HubInTrouble

    def do_GET(self) -> None:
        token = self.headers["Authorization"].removeprefix("token ")
        self.server.asked[token] += 1
        if token == "slow":
            self.server.slow_one_waits.set()
            self.server.may_answer.wait(60)
        kind = "service" if token == "robot" else "user"
        known = {"kind": kind, "name": token, "admin": False, "groups": [], "scopes": [SCOPE]}
        body = json.dumps(known).encode()
        self.send_response(200 if token in ("ann", "robot", "slow") else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def trouble() -> Iterator[HubInTrouble]:
    with HubInTrouble() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


@pytest.fixture(scope="module")
def service(trouble: HubInTrouble) -> Iterator[RunningServer]:
    environment = {
        "JUPYTERHUB_SERVICE_NAME": "mlx",
        "JUPYTERHUB_API_TOKEN": "of-the-service",
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{trouble.server_port}/hub/api",
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:10101",
    }
    with running(alone=True, token=None, env=environment) as server:
        yield server


def ask(service: RunningServer, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{service.url}v1/models", headers=headers, timeout=60, trust_env=False)


def test_a_slow_hub_delays_no_other_request(service: RunningServer, trouble: HubInTrouble) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, service, "slow")
        assert trouble.slow_one_waits.wait(60)
        assert [ask(service, "ann").status_code for _ in range(3)] == [200] * 3
        assert not slow.done()
        trouble.may_answer.set()
        assert slow.result(60).status_code == 200
    assert trouble.asked["ann"] == 1, "the Hub's answer is remembered"


# Of a Jupyter server, whose owner could run code with them and read files.
JUPYTERS = (
    *("GET api", "POST api/kernels", "GET api/kernels/1/channels", "GET api/contents"),
    *("GET api/kernelspecs", "GET api/sessions", "POST api/terminals", "GET files/log"),
    *("GET nbconvert/html/log", "POST api/shutdown", "GET api/config/a", "GET metrics"),
    *("GET api/events/subscribe", "GET view/log", "GET tree", "GET login", "GET static/style/a"),
)


def says_that_there_is_no_route(answer: httpx.Response) -> bool:
    """Whether an error says so: below `api/` in Ollama's format, elsewhere in OpenAI's."""
    error = answer.json()["error"]
    said = error if isinstance(error, str) else error["message"]
    return str(said).startswith("There is no route")


def test_users_of_the_service_cannot_use_it_as_a_jupyter_server(service: RunningServer) -> None:
    headers = {"Authorization": "Bearer ann"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as ann:
        for method, path in (route.split() for route in JUPYTERS):
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if "/1/" in path else {}
            answer = ann.request(method, path, json={}, headers=upgrade)
            assert answer.status_code == 404, (method, path, answer.text)
            assert says_that_there_is_no_route(answer)
        # What is above the service's own prefix is not there either.
        assert httpx.get(f"http://127.0.0.1:{service.port}/api", headers=headers).status_code == 404
        assert ann.get("v1/models").status_code == 200
    assert service.process.poll() is None


def test_a_service_of_the_hub_has_the_name_of_no_user(service: RunningServer) -> None:
    headers = {"Authorization": "Bearer robot"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as client:
        (usage,) = client.get("mlx/usage").raise_for_status().json()["users"]
    assert usage["user"] == "services/robot"


def test_a_hub_that_fails_or_is_away_is_no_fault_of_the_token(
    service: RunningServer, trouble: HubInTrouble
) -> None:
    trouble.may_answer.set()
    assert _code(ask(service, "broken")) == (503, "jupyterhub_unreachable")
    assert trouble.asked["broken"] == 1
    trouble.shutdown()
    trouble.server_close()
    assert _code(ask(service, "bob")) == (503, "jupyterhub_unreachable")
    page = httpx.get(service.url, headers={"Authorization": "Bearer bob"}, trust_env=False)
    assert page.status_code == 503
    assert "JupyterHub did not answer" in page.text
    # Whoever was here before can go on.
    assert ask(service, "ann").status_code == 200


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]
