"""A notebook server passes requests on to a service: a real server with an engine."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server.running import HELLO, RunningServer, running, wait_for

USERS_TOKEN = "token-of-the-user"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningServer]:
    with running(token=USERS_TOKEN, base_url="/services/mlx/") as server:
        yield server


@pytest.fixture(scope="module")
def notebook(service: RunningServer) -> Iterator[RunningServer]:
    with running(env=pointing_at(service.url)) as server:
        yield server


def pointing_at(url: str) -> dict[str, str]:
    return {"MLX_NOTEBOOK_SERVICE_URL": url, "JUPYTERHUB_API_TOKEN": USERS_TOKEN}


@pytest.fixture
def client(notebook: RunningServer) -> Iterator[openai.OpenAI]:
    url = notebook.openai_url
    with openai.OpenAI(base_url=url, api_key=notebook.token, max_retries=0) as opened:
        yield opened


def test_answers_streams_and_errors_come_from_the_service(
    service: RunningServer, notebook: RunningServer, client: openai.OpenAI
) -> None:
    body = {"model": "tiny-chat", "messages": HELLO, "temperature": 0, "max_tokens": 8}
    answer = client.chat.completions.create(**body)
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**body, stream=True)
    ]
    assert answer.choices[0].message.content == "".join(pieces)
    assert len(pieces) > 4
    wait_for(lambda: service.status()["totals"]["requests"] == 2, 60)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**body, "model": "no such model"})
    assert unknown.value.code == "model_not_found"
    assert "engine" not in notebook.log


def test_a_websocket_goes_on_to_the_service(
    service: RunningServer, notebook: RunningServer, client: openai.OpenAI
) -> None:
    previous: str | None = None
    with client.responses.connect() as connection:
        for text in ("My name is Ada.", "What is my name?"):
            connection.response.create(
                model="tiny-chat", input=text, store=False, previous_response_id=previous
            )
            last: Any = connection.recv()
            while last.type not in ("response.completed", "error"):
                last = connection.recv()
            previous = last.response.id
        connection.send_raw("{")
        error: Any = connection.recv()
        assert error.error.code == "invalid_json"
    assert service.wait_until_idle()
    # What the service refuses is refused here.
    url = notebook.openai_url.replace("http", "ws", 1) + "/responses"
    head = notebook.headers
    with pytest.raises(InvalidStatus) as caught:
        connect(url, additional_headers={"Authorization": "Bearer wrong"}, proxy=None)
    assert caught.value.response.status_code == 401
    opened = [connect(url, additional_headers=head, proxy=None) for _ in range(32)]
    with pytest.raises(InvalidStatus) as caught:
        connect(url, additional_headers=head, proxy=None)
    assert caught.value.response.status_code == 429
    assert b"max_sockets" in (caught.value.response.body or b"")
    for each in opened:
        each.close()


def test_the_response_is_the_services_own(service: RunningServer, notebook: RunningServer) -> None:
    for method, path, body in (
        ("GET", "mlx/models", None),
        ("GET", "v1/models/tiny-chat", None),
        ("GET", "v1/models?limit=1", None),
        ("POST", "tokenize", {"prompt": "Hällo + 1"}),
        ("PUT", "mlx/models/tiny-chat/settings", {"top_p": 2}),
        ("PATCH", "v1/models", None),
        ("GET", "mlx/nothing%2Fhere?q=%C3%A9%20x", None),
    ):
        own, relayed = (
            server.client.request(method, path, json=body) for server in (service, notebook)
        )
        assert relayed.status_code == own.status_code
        assert relayed.json() == json.loads(
            own.text.replace(service.url[:-1], notebook.url[:-1])
        ) or ("/services/mlx/" in own.text)
        assert relayed.headers["content-type"] == own.headers["content-type"]


def test_anthropics_client_gets_its_own_errors(notebook: RunningServer) -> None:
    with anthropic.Anthropic(
        base_url=notebook.url, api_key=notebook.token, max_retries=0
    ) as client:
        message = client.messages.create(
            model="tiny-chat", max_tokens=4, messages=[{"role": "user", "content": "Hi"}]
        )
        assert message.usage.output_tokens == 4
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(model="tiny-chat", max_tokens=0, messages=[])


def test_this_server_checks_who_sends_a_request(notebook: RunningServer) -> None:
    with httpx.Client(base_url=notebook.url, trust_env=False) as stranger:
        assert stranger.get("v1/models").status_code == 401
        # The service would know this token.
        headers = {"Authorization": f"Bearer {USERS_TOKEN}"}
        assert stranger.post("v1/completions", headers=headers, json={}).status_code == 401
        by_address = stranger.get("v1/models", params={"token": notebook.token, "limit": "1"})
        assert by_address.status_code == 200


def test_a_client_that_leaves_ends_its_request_in_the_service(
    service: RunningServer, notebook: RunningServer
) -> None:
    body = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 3000, "ignore_eos": True}
    before = service.status()["totals"]["cancelled"]
    with notebook.client.stream(
        "POST", "v1/completions", json={**body, "stream": True}
    ) as response:
        next(response.iter_bytes())
    wait_for(lambda: service.status()["totals"]["cancelled"] == before + 1, 60)
    service.wait_until_idle()


def test_a_service_that_ends_is_named(notebook: RunningServer) -> None:
    with running(token=USERS_TOKEN) as dying, running(env=pointing_at(dying.url)) as server:
        body = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 3000, "ignore_eos": True}
        with server.client.stream(
            "POST", "v1/completions", json={**body, "stream": True}
        ) as response:
            lines = response.iter_lines()
            assert any(line.startswith("data: ") for line in lines)
            dying.process.kill()
            dying.process.wait()
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "service_unreachable"
        answer = server.chat()
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["code"] == "service_unreachable"
        assert dying.url in error["message"]
        message = server.client.post("v1/messages", json={"messages": []})
        assert message.json()["error"]["details"]["error_code"] == "service_unreachable"
