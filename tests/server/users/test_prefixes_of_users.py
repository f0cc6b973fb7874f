"""Which prompts users share on a real server, and what they are told of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.running import RunningServer, running
from tests.server.users.identities import token_of

TUTOR = " ".join(
    f"Rule {number}: be kind, ask back, and give hint number {number} before the answer."
    for number in range(24)
)
STORY = " ".join(
    f"On day {number} the seven swans flew over lake {number}." for number in range(24)
)
_CONFIG = {
    "ServerApp": {"identity_provider_class": "tests.server.users.identities.UserTokens"},
    "MlxNotebookApp": {"shared_prefixes": [{"system": TUTOR}, {"group": "class"}]},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningServer]:
    with running(config=_CONFIG, env={"PYTHONPATH": str(Path(__file__).parents[3])}) as server:
        yield server


class Caller:
    """A user who sends prompts."""

    def __init__(self, server: RunningServer, name: str) -> None:
        headers = {"Authorization": f"Bearer {token_of(name)}"}
        self.client = httpx.Client(
            base_url=server.url, headers=headers, trust_env=False, timeout=60
        )

    def ask(self, system: str, text: str, **options: Any) -> dict[str, Any]:
        """Send a chat; return the answer."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        body = {
            "model": "tiny-chat",
            "messages": messages,
            "max_tokens": 8,
            "temperature": 0,
            **options,
        }
        answer = self.client.post("v1/chat/completions", json=body).raise_for_status()
        return dict(answer.json())

    def cached(self, system: str, text: str, **options: Any) -> int:
        """Return how many tokens of a prompt were not computed."""
        usage = self.ask(system, text, **options)["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])


@pytest.fixture(scope="module")
def callers(hub: RunningServer) -> Iterator[dict[str, Caller]]:
    made = {name: Caller(hub, name) for name in ("ann", "bob", "cem", "dora", "teacher")}
    yield made
    for caller in made.values():
        caller.client.close()


def length(caller: Caller, system: str, text: str = "") -> int:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = {"model": "tiny-chat", "messages": messages, "max_tokens": 1}
    return int(
        caller.client.post("v1/chat/completions", json=body).json()["usage"]["prompt_tokens"]
    )


def test_a_declared_system_prompt_is_computed_once_and_what_follows_is_private(
    callers: dict[str, Caller],
) -> None:
    cem, dora = callers["cem"], callers["dora"]
    first = cem.ask(TUTOR, STORY)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 50
    assert cem.cached(TUTOR, STORY) > 0.9 * first["usage"]["prompt_tokens"]
    whole, system_alone = first["usage"]["prompt_tokens"], length(dora, TUTOR)
    answer = dora.ask(TUTOR, STORY)
    found = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 0.8 * system_alone < found <= system_alone < 0.7 * whole
    # What was shared computes the same answer.
    assert answer["choices"] == first["choices"]
    # The trace tells the same as the usage, and is the user's own.
    trace = dora.client.get(f"mlx/traces/{answer['id']}").json()
    assert trace["usage"]["cached_tokens"] == found
    assert cem.client.get(f"mlx/traces/{answer['id']}").status_code == 404


def test_a_prompt_that_nobody_declared_is_private(callers: dict[str, Caller]) -> None:
    cem, dora = callers["cem"], callers["dora"]
    assert cem.cached(STORY, "Hi") < 50
    assert cem.cached(STORY, "Hi") > 300
    assert dora.cached(STORY, "Hi") < 50
    # A key of OpenAI's API does not open the prompts of others.
    assert dora.cached(f"{STORY} Yes.", "Hi", prompt_cache_key="cem") > 300  # its own
    assert callers["teacher"].cached(STORY, "Hi", prompt_cache_key="cem") < 50


def test_a_group_shares_all_prompts_where_that_is_declared(callers: dict[str, Caller]) -> None:
    text = f"{STORY} The end."
    assert callers["ann"].cached("Tell.", text) < 50
    assert callers["bob"].cached("Tell.", text) > 300
    assert callers["cem"].cached("Tell.", text) < 50
