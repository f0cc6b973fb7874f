from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.server.running import RunningServer, running


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningServer]:
    """A server where two users have tokens of their own, beside the server's."""
    with running(
        config={"ServerApp": {"identity_provider_class": "tests.server.user_tokens.UserTokens"}},
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as server:
        yield server


def test_each_user_sees_only_their_own(hub: RunningServer) -> None:
    def client(token: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=hub.openai_url, api_key=token, max_retries=0)

    ann, bob, shared = (client(t) for t in ("token-of-ann", "token-of-bob", hub.token))
    response = ann.responses.create(model="tiny-chat", input="Hi", max_output_tokens=2)
    assert client("token-of-ann").responses.retrieve(response.id) == response
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
