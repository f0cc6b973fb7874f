"""A traced request can be sent again, and says the same."""

import os
import subprocess
import sys

import pytest

from mlx_notebook.panels.inspector.inspector_panel import faults
from mlx_notebook.panels.inspector.replay_code import as_curl, as_python, request_of

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": 'Add it\'s "numbers".',
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
ASK = {"role": "user", "content": "What is 17 plus 25?"}


def traced(server, path, **body):
    answer = server.client.post(path, json={"model": "tiny-chat", **body}).raise_for_status().json()
    return server.client.get(f"mlx/traces/{answer['id']}").raise_for_status().json()


REQUESTS = [
    ("v1/chat/completions", {"messages": [ASK], "tools": [TOOL], "temperature": 0, "seed": 3}),
    (
        "v1/chat/completions",
        {
            "messages": [ASK],
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "parallel_tool_calls": False,
            "temperature": 0,
        },
    ),
    (
        "v1/chat/completions",
        {"messages": [ASK], "structured_outputs": {"choice": ["it's", "no"]}, "temperature": 0},
    ),
    ("v1/chat/completions", {"messages": [ASK], "max_tokens": 4, "top_k": 1, "logprobs": True}),
    ("v1/completions", {"prompt": "Once\nupon", "max_tokens": 3, "temperature": 0}),
    (
        "v1/chat/completions",
        {
            "messages": [ASK, {"role": "assistant", "content": "It"}],
            "continue_final_message": True,
            "bad_words": ["is"],
            "stop_token_ids": [3],
            "typical_p": 0.9,
            "xtc_probability": 0.5,
            "repetition_penalty": 1.2,
            "repeat_last_n": 8,
            "seed": 4,
            "max_tokens": 9,
        },
    ),
]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_request_sent_again_is_the_same_request(server, path, body):
    first = traced(server, path, **body)
    again_path, again = request_of(first)
    assert again_path == path
    second = traced(server, again_path, **again)
    for name in ("messages", "tools", "options", "prompt", "model"):
        assert second[name] == first[name]
    assert second["rows"][0]["raw"] == first["rows"][0]["raw"]


@pytest.mark.parametrize(("path", "body"), [REQUESTS[0], REQUESTS[2], REQUESTS[4]])
def test_curl_and_python_run_as_they_are(server, path, body):
    first = traced(server, path, **body)
    curl = as_curl(server.url, *request_of(first))
    env = {**os.environ, "JUPYTER_TOKEN": server.token}
    subprocess.run(["sh", "-ec", curl], env=env, check=True, capture_output=True, timeout=60)
    assert server.token not in curl
    env = {**os.environ, "MLX_NOTEBOOK_URL": server.url, "MLX_NOTEBOOK_TOKEN": server.token}
    code = as_python(*request_of(first))
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    newest = server.client.get("mlx/traces").json()["data"][:2]
    for trace in newest:
        found = server.client.get(f"mlx/traces/{trace['id']}").json()
        assert found["options"] == first["options"]
        assert found["rows"][0]["raw"] == first["rows"][0]["raw"]


def test_images_and_what_was_not_kept_cannot_be_sent_again():
    trace = {"model": "m", "tools": [], "options": {}, "prompt": None}
    image = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
    with pytest.raises(ValueError, match="images"):
        request_of({**trace, "messages": [image]})
    with pytest.raises(ValueError, match="too large"):
        request_of({**trace, "messages": []})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": 1, "b": 2}', []),
        ('{"a": "1"}', ["a: '1' is not of type 'integer'", "arguments: 'b' is a required"]),
        ('{"a": 1, ', ["the arguments are not JSON"]),
    ],
)
def test_arguments_are_held_against_the_schema(arguments, told):
    found = faults({"name": "add", "arguments": arguments}, [TOOL])
    assert len(found) == len(told)
    assert all(a.startswith(b) for a, b in zip(sorted(found), sorted(told), strict=True))


def test_a_call_of_a_tool_that_was_not_offered_is_told():
    assert faults({"name": "sub", "arguments": "{}"}, [TOOL]) == ["no tool 'sub' was offered"]
