from typing import Any

import pytest

from tests.server.running import HELLO, RunningServer

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def post(server: RunningServer, route: str, **body: Any) -> Any:
    response = server.client.post(route, json={"model": "tiny-chat", **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_text_to_tokens_and_back(server: RunningServer) -> None:
    text = "Hello <|im_end|> wörld ✓"
    tokens = post(server, "tokenize", content=text)["tokens"]
    assert all(isinstance(token, int) for token in tokens)
    assert post(server, "detokenize", tokens=tokens) == {"content": text}
    assert post(server, "tokenize", content="") == {"tokens": []}
    assert post(server, "detokenize", tokens=[]) == {"content": ""}


def test_pieces_add_up_to_the_text(server: RunningServer) -> None:
    pieces = post(server, "tokenize", content="Hello there", with_pieces=True)["tokens"]
    assert "".join(token["piece"] for token in pieces) == "Hello there"
    ids = post(server, "tokenize", content="Hello there")["tokens"]
    assert [token["id"] for token in pieces] == ids


def test_a_chat_is_shown_as_the_engine_is_fed_it(server: RunningServer) -> None:
    chat = {"messages": [{"role": "system", "content": "Be kind."}, *HELLO], "tools": [TOOL]}
    prompt = post(server, "apply-template", **chat)["prompt"]
    assert "Be kind." in prompt
    assert '"weather"' in prompt
    answer = server.chat(model="tiny-chat", max_tokens=1, **chat).raise_for_status().json()
    trace = server.client.get(f"mlx/traces/{answer['id']}").json()
    assert trace["prompt"] == prompt
    tokens = post(server, "tokenize", **chat)["tokens"]
    assert len(tokens) == answer["usage"]["prompt_tokens"]
    assert post(server, "detokenize", tokens=tokens)["content"] == prompt


def test_a_template_takes_its_options(server: RunningServer) -> None:
    plain = post(server, "apply-template", messages=HELLO)["prompt"]
    thinking = post(server, "apply-template", messages=HELLO, reasoning_effort="high")["prompt"]
    assert "</think>" in plain
    assert "</think>" not in thinking
    told = {"chat_template_kwargs": {"enable_thinking": True}}
    assert post(server, "apply-template", messages=HELLO, **told)["prompt"] == thinking
    bare = post(server, "apply-template", messages=HELLO, add_generation_prompt=False)["prompt"]
    assert plain.startswith(bare)
    assert "assistant" not in bare


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("tokenize", {}, "content"),
        ("tokenize", {"content": "a", "messages": HELLO}, "content"),
        ("tokenize", {"content": "a", "parse_special": False}, "parse_special"),
        ("tokenize", {"content": "a" * (2**20 + 1)}, "content"),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": [10**8]}, "tokens"),
        ("detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("apply-template", {}, "messages"),
        ("apply-template", {"messages": []}, "messages"),
        ("apply-template", {"messages": HELLO, "tools": [{}]}, "tools[0].function"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    server: RunningServer, route: str, body: dict[str, Any], param: str
) -> None:
    response = server.client.post(route, json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
