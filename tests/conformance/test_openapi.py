"""Schemathesis: requests that the OpenAPI document allows or forbids, sent to a real server."""

import os
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

from mlx_notebook.server.api.openapi.document import document
from tests.server.running import RunningServer

# All but `positive_data_acceptance`: many requests of the right shape are refused for their content
# (an empty text, a parameter of hosted servers, an unknown tool).
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
EXAMPLES = 25
REQUESTS = 1500
# An answer of at most four tokens is faster, even on a busy machine.
HANGS = 60

# These generate tokens. Without a limit a random request generates 4,096 of them.
TOKENS = 4
LIMITS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/responses/compact": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
}


class Session(requests.Session):
    """Counts its requests and adds the server's token to each."""

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


# Besides random requests there is one for each limit and each wrong type of each parameter. These
# routes have thousands of such requests, which take minutes: they are sent each night.
ALL = "MLX_NOTEBOOK_ALL_REQUESTS"
LARGE = (
    *("chat/completions", "completions", "responses", "responses/input_tokens"),
    "responses/compact",
    *("messages", "messages/count_tokens"),
)
STORES = ("batches", "files", "messages/batches", "conversations")
SOUND = ("audio/speech", "audio/transcriptions", "audio/translations")
RANDOM_ONLY = [
    {"include-name": name, "phases": {"coverage": {"enabled": False}}}
    for name in (
        *(f"POST /v1/{name}" for name in (*LARGE, *STORES, *SOUND, "rerank")),
        *("POST /v2/rerank", "POST /v1/embeddings", "POST /tokenize", "POST /apply-template"),
        *(f"GET /v1/{name}" for name in STORES),
    )
    if not os.environ.get(ALL)
]

# `v1/openapi.json` without the route whose stream never ends.
DOCUMENT = document("/nb/")
CONFIG = schemathesis.Config.from_dict({"operations": RANDOM_ONLY})
API = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG).exclude(path="/mlx/events")


def bounded(case: Any) -> None:
    """Limit the tokens of a request, and let valid ones often name what exists."""
    body = case.body
    if not isinstance(body, dict):
        return
    for name in LIMITS.get(case.path, ()):
        given = body.get(name)
        # Anthropic's limit is required: without it nothing is generated.
        if (given is None and case.path != "/v1/messages") or is_more(given, TOKENS):
            body[name] = TOKENS
    for name in ("n", "best_of"):
        if is_more(body.get(name), 2):
            body[name] = 2
    # A random name is never that of a model: every other valid request names one that exists.
    if is_good(case) and isinstance(body.get("model"), str) and len(body["model"]) % 2:
        body["model"] = "tiny-chat"


def existing(path: str, session: Session, server: RunningServer) -> str | None:
    """Return the name of something that exists, for the variable part of a path."""
    if path.startswith("/v1/responses/"):
        made = session.post(
            f"{server.url}v1/responses", json={"input": "Hi", "max_output_tokens": 1}
        )
        return str(made.json()["id"])
    if path.startswith("/v1/conversations/"):
        said = {"items": [{"role": "user", "content": "Hi", "id": "msg_1"}]}
        return str(session.post(f"{server.url}v1/conversations", json=said).json()["id"])
    if path.startswith("/v1/chat/completions/"):
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "store": True}
        return str(session.post(f"{server.url}v1/chat/completions", json=body).json()["id"])
    if path.startswith("/v1/files/"):
        form = {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"Hi")}}
        return str(session.post(f"{server.url}v1/files", **form).json()["id"])
    if path.startswith("/mlx/traces/"):
        return str(session.get(f"{server.url}mlx/traces").json()["data"][0]["id"])
    return "tiny-chat" if path.startswith("/v1/models/") else None


def strange(case: Any) -> bool:
    """Return whether the query has undocumented names, which the server ignores and lists."""
    operation = DOCUMENT["paths"][case.path].get(case.method.lower(), {})
    described = operation.get("parameters", [])
    return bool(set(case.query or ()) - {each["name"] for each in described})


def is_list_in_form(case: Any) -> bool:
    """Return whether a field of a form holds a list.

    A form has no lists: one of a single value is sent as this value, and an empty one as nothing.
    """
    form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    return form and any(isinstance(value, list) for value in case.body.values())


def is_good(case: Any) -> bool:
    """Return whether a request was generated to fit the document."""
    return case.meta is not None and bool(case.meta.generation.mode.is_positive)


def is_more(given: Any, limit: int) -> bool:
    """Return whether it is a number that the document allows, and above the limit."""
    return isinstance(given, int) and limit < given < 2**31


def test_the_checked_document_is_that_of_the_server(server: RunningServer) -> None:
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
def test_every_answer_fits_the_document(case: Any, session: Session, server: RunningServer) -> None:
    bounded(case)
    if is_good(case) and case.path_parameters:
        name, given = next(iter(case.path_parameters.items()))
        if len(given) % 2 and (found := existing(case.path, session, server)):
            case.path_parameters[name] = found
            if "item" in case.path_parameters:
                case.path_parameters["item"] = "msg_1"
    undecided = strange(case) or is_list_in_form(case)
    checks = [check for check in CHECKS if check is not negative_data_rejection or not undecided]
    case.call_and_validate(server.url.rstrip("/"), session=session, checks=checks)


def test_enough_requests_were_sent_and_many_were_valid(session: Session) -> None:
    assert session.sent >= REQUESTS, session.codes
    assert session.codes[200] >= REQUESTS / 5, session.codes
