"""Schemathesis: what our own description allows, and what it forbids, sent to a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from mlx_notebook.server.api.openapi import document
from tests.server.running import RunningServer

# All but `positive_data_acceptance`: much that has the right shape is refused for what it says (an
# empty text, a parameter that hosted servers have, a tool that is not there).
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    ignored_auth,
]
EXAMPLES = 40
REQUESTS = 2000
# No answer of at most four tokens takes so long, even on a busy machine.
HANGS = 60

# These generate: at most so many tokens, or a random request writes 4,096 of them.
TOKENS = 4
LIMITS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
}


class Session(requests.Session):
    """Counts its requests and gives each the server's token."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.update(server.headers)
        self.sent = 0
        self.codes: dict[int, int] = {}

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(*args, **{**kwargs, "timeout": HANGS})
        self.sent += 1
        self.codes[response.status_code] = self.codes.get(response.status_code, 0) + 1
        return response


@pytest.fixture(scope="module")
def session(server: RunningServer) -> Iterator[Session]:
    with Session(server) as session:
        yield session


# `v1/openapi.json` without the route that streams for as long as someone listens.
DOCUMENT = document("/nb/")
API = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/mlx/events")


def bounded(case: Any) -> None:
    """Let a request ask for little, and a good one often for what is there."""
    body = case.body
    if not isinstance(body, dict):
        return
    for name in LIMITS.get(case.path, ()):
        given = body.get(name)
        # Anthropic's is required: without it nothing is generated.
        if (given is None and case.path != "/v1/messages") or is_more(given, TOKENS):
            body[name] = TOKENS
    for name in ("n", "best_of"):
        if is_more(body.get(name), 2):
            body[name] = 2
    # A random name is never a model's: every other good request goes to one that is there.
    if is_good(case) and isinstance(body.get("model"), str) and len(body["model"]) % 2:
        body["model"] = "tiny-chat"


def existing(path: str, session: Session, server: RunningServer) -> str | None:
    """The name of something that is there, for the part of a path that is generated."""
    if path.startswith("/v1/responses/"):
        made = session.post(
            f"{server.url}v1/responses", json={"input": "Hi", "max_output_tokens": 1}
        )
        return str(made.json()["id"])
    if path.startswith("/v1/chat/completions/"):
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "store": True}
        return str(session.post(f"{server.url}v1/chat/completions", json=body).json()["id"])
    if path.startswith("/mlx/traces/"):
        return str(session.get(f"{server.url}mlx/traces").json()["data"][0]["id"])
    return "tiny-chat" if path.startswith("/v1/models/") else None


def strange(case: Any) -> bool:
    """Whether the query holds names that are not described: those are passed over and listed."""
    operation = DOCUMENT["paths"][case.path].get(case.method.lower(), {})
    described = operation.get("parameters", [])
    return bool(set(case.query or ()) - {each["name"] for each in described})


def is_good(case: Any) -> bool:
    """Whether a request was generated to fit the description."""
    return case.meta is not None and bool(case.meta.generation.mode.is_positive)


def is_more(given: Any, limit: int) -> bool:
    """Whether it is a number that the description allows, and above the limit."""
    return isinstance(given, int) and limit < given < 2**31


def test_this_is_what_the_server_says_of_itself(server: RunningServer) -> None:
    assert server.client.get("v1/openapi.json").json() == DOCUMENT


@API.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: Any, session: Session, server: RunningServer) -> None:
    bounded(case)
    if is_good(case) and case.path_parameters:
        name, given = next(iter(case.path_parameters.items()))
        if len(given) % 2 and (found := existing(case.path, session, server)):
            case.path_parameters[name] = found
    checks = [
        check for check in CHECKS if check is not negative_data_rejection or not strange(case)
    ]
    case.call_and_validate(server.url.rstrip("/"), session=session, checks=checks)


def test_enough_was_sent_and_much_of_it_was_good(session: Session) -> None:
    assert session.sent >= REQUESTS, session.codes
    assert session.codes[200] >= REQUESTS / 4, session.codes
