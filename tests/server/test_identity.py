import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.server.running import RunningServer, running, wait_for

_USERS = {"identity_provider_class": "tests.server.users.identities.UserTokens"}
_PATH = {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningServer]:
    """A server where two users have tokens of their own, beside the server's."""
    with running(config={"ServerApp": _USERS}, env=_PATH) as server:
        yield server


def client_of(server: RunningServer, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60)


def cached(client: httpx.Client, text: str) -> int:
    """How many tokens of a prompt were reused."""
    message = {"role": "user", "content": text}
    body = {"model": "tiny-chat", "messages": [message], "max_tokens": 1}
    answer = client.post("v1/chat/completions", json=body).raise_for_status().json()
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def seen(client: httpx.Client) -> list[dict[str, object]]:
    """The requests in the status, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        requests: list[dict[str, object]] = client.get("mlx/status").json()["requests"]
        if requests:
            return requests
        time.sleep(0.05)
    raise AssertionError("no request came")


def test_each_user_sees_only_their_own(hub: RunningServer) -> None:
    with ExitStack() as clients:
        ann, again, bob, shared = (
            clients.enter_context(
                openai.OpenAI(base_url=hub.openai_url, api_key=token, max_retries=0)
            )
            for token in ("token-of-ann", "token-of-ann", "token-of-bob", hub.token)
        )
        _sees_only_its_own(ann, again, bob, shared)


def _sees_only_its_own(
    ann: openai.OpenAI, again: openai.OpenAI, bob: openai.OpenAI, shared: openai.OpenAI
) -> None:
    response = ann.responses.create(model="tiny-chat", input="Hi", max_output_tokens=2)
    assert again.responses.retrieve(response.id) == response
    for other in (bob, shared):
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.input_items.list(response.id)
        with pytest.raises(openai.BadRequestError, match="no stored response"):
            other.responses.create(
                model="tiny-chat", input="And?", previous_response_id=response.id
            )
    running_one = ann.responses.create(
        model="tiny-chat", input="Hi", background=True, max_output_tokens=500
    )
    with pytest.raises(openai.NotFoundError):
        bob.responses.cancel(running_one.id)
    ann.responses.delete(running_one.id)
    ann.responses.delete(response.id)


def test_all_holders_of_the_servers_token_are_one_user(hub: RunningServer) -> None:
    body = {"input": "Hi", "max_output_tokens": 2, "model": "tiny-chat"}
    ways = [
        {"Authorization": f"Bearer {hub.token}"},
        {"Authorization": f"token {hub.token}"},
        {"x-api-key": hub.token},
    ]
    with httpx.Client(base_url=hub.url, trust_env=False, timeout=60) as client:
        id = client.post("v1/responses", json=body, headers=ways[0]).json()["id"]
        for headers in ways:
            assert client.get(f"v1/responses/{id}", headers=headers).status_code == 200


def test_requests_of_others_are_counted_without_their_ids_and_cannot_be_stopped(
    hub: RunningServer,
) -> None:
    body = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 3000, "ignore_eos": True}
    with (
        client_of(hub, "token-of-ann") as ann,
        client_of(hub, "token-of-bob") as bob,
        client_of(hub, hub.token) as owner,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(ann.post, "v1/completions", json=body)
        (own,) = seen(ann)
        (others,) = seen(owner)
        assert own["own"] is True
        assert others["own"] is False
        assert others["id"] != own["id"]
        assert bob.get("mlx/status").json()["requests"] == []
        for client in (bob, owner):
            for id in (own["id"], others["id"]):
                assert client.post(f"mlx/cancel/{id}").status_code == 404
        assert ann.post(f"mlx/cancel/{own['id']}").status_code == 200
        assert answer.result(60).status_code == 499


def test_a_prompt_of_one_user_is_not_reused_for_another(hub: RunningServer) -> None:
    text = "The password of the vault is an old song about seven swans on a lake."
    with client_of(hub, "token-of-ann") as ann, client_of(hub, "token-of-bob") as bob:
        assert cached(ann, text) < 20
        assert cached(ann, text) > 20
        assert cached(bob, text) < 20
        assert cached(bob, text) > 20


def cached_in_background(client: httpx.Client, text: str) -> int:
    """How many tokens of a background response's prompt were reused."""
    body = {"model": "tiny-chat", "input": text, "background": True, "max_output_tokens": 1}
    id = client.post("v1/responses", json=body).raise_for_status().json()["id"]

    def ended() -> dict[str, Any] | None:
        response: dict[str, Any] = client.get(f"v1/responses/{id}").raise_for_status().json()
        return response if response["status"] in ("completed", "incomplete") else None

    return int(wait_for(ended, 60)["usage"]["input_tokens_details"]["cached_tokens"])


def test_a_prompt_of_one_user_is_not_reused_for_anothers_background_response(
    hub: RunningServer,
) -> None:
    text = "The key of the cellar lies under the third stone behind the old mill by the river."
    with client_of(hub, "token-of-ann") as ann, client_of(hub, "token-of-bob") as bob:
        assert cached_in_background(ann, text) < 20
        assert cached_in_background(ann, text) > 20
        assert cached_in_background(bob, text) < 20


def test_settings_of_one_user_do_not_hold_for_another(hub: RunningServer) -> None:
    path = "mlx/models/tiny-chat/settings"
    with (
        client_of(hub, "token-of-ann") as ann,
        client_of(hub, "token-of-bob") as bob,
        client_of(hub, hub.token) as owner,
    ):
        owner.put(path, json={"context_limit": 2048, "top_p": 0.5}).raise_for_status()
        assert ann.put(path, json={"system": "Talk like a pirate."}).status_code == 200
        assert ann.get(path).json()["settings"] == {
            "context_limit": 2048,
            "system": "Talk like a pirate.",
        }
        assert bob.get(path).json()["settings"] == {"context_limit": 2048}
        assert owner.get(path).json()["settings"] == {"context_limit": 2048, "top_p": 0.5}
        text = {"model": "tiny-chat", "messages": [{"role": "user", "content": "Hi"}]}
        assert "pirate" in ann.post("apply-template", json=text).text
        assert "pirate" not in bob.post("apply-template", json=text).text
        refused = bob.put(path, json={"context_limit": 64})
        assert refused.status_code == 403
        assert refused.json()["error"]["param"] == "context_limit"
        ann.put(path, json={})
        owner.put(path, json={})
        assert ann.get(path).json()["settings"] == {}


def test_users_share_what_the_configuration_says() -> None:
    config = {
        "ServerApp": _USERS,
        "MlxNotebookApp": {"shared_between_users": ["prefixes", "requests", "settings"]},
    }
    text = "The password of the vault is an old song about seven swans on a lake."
    with running(config=config, env=_PATH) as server:
        ann, bob = client_of(server, "token-of-ann"), client_of(server, "token-of-bob")
        with ann, bob, ThreadPoolExecutor(1) as pool:
            assert cached(ann, text) < 20
            assert cached(bob, text) > 20
            ann.put("mlx/models/tiny-chat/settings", json={"top_k": 3}).raise_for_status()
            assert bob.get("mlx/models/tiny-chat/settings").json()["saved"] == {"top_k": 3}
            body = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 3000, "ignore_eos": True}
            answer = pool.submit(ann.post, "v1/completions", json=body)
            (others,) = seen(bob)
            assert bob.post(f"mlx/cancel/{others['id']}").status_code == 200
            assert answer.result(60).status_code == 499


def test_a_browser_that_logged_in_with_the_token_is_the_same_user(
    server: RunningServer,
) -> None:
    with (
        client_of(server, server.token) as program,
        httpx.Client(
            base_url=server.url, trust_env=False, timeout=60, follow_redirects=True
        ) as browser,
    ):
        browser.get("lab", params={"token": server.token})
        body = {"input": "Hi", "max_output_tokens": 2, "model": "tiny-chat"}
        id = program.post("v1/responses", json=body).raise_for_status().json()["id"]
        assert browser.get(f"v1/responses/{id}").status_code == 200
