"""A second mlx-notebook and mlx-lm's server as upstreams: the same answers as from themselves."""

import base64
import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from PIL import Image

import mlx_notebook
from tests.server.running import HELLO, TOKEN, RunningServer, running, wait_for
from tests.server.users.identities import token_of

TINY_CHAT = Path(mlx_notebook.__file__).parent / "demo_models" / "tiny-chat"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}, "days": {"enum": [1, 2]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
QUESTION = [{"role": "user", "content": "What is the weather in Paris for 2 days?"}]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningServer]:
    with running(alone=True, base_url="/") as server:
        yield server


@pytest.fixture(scope="module")
def mlx_lm() -> Iterator[str]:
    """The URL of mlx-lm's own server with tiny-chat."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlx_lm", "server", "--model", str(TINY_CHAT), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        assert server.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, 120)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def near(lab: RunningServer, mlx_lm: str) -> Iterator[RunningServer]:
    upstreams = {
        "lab": {"url": lab.openai_url, "key_env": "LAB_KEY", "extra": ["enable_thinking"]},
        "class": {"url": lab.openai_url, "key_env": "LAB_KEY", "groups": ["class"]},
        "lm": {"url": mlx_lm, "models": [str(TINY_CHAT)]},
    }
    provider = {"identity_provider_class": "tests.server.users.identities.UserTokens"}
    with running(
        config={
            "MlxNotebookApp": {"upstreams": upstreams},
            "ServerApp": {
                **provider,
                "jpserver_extensions": {
                    "mlx_notebook": True,
                    "jupyterlab": False,
                    "notebook": False,
                },
            },
        },
        env={"LAB_KEY": lab.token, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(near: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=near.openai_url, api_key=TOKEN, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def direct(lab: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=lab.openai_url, api_key=lab.token, max_retries=0) as client:
        yield client


def message(client: openai.OpenAI, model: str, **request: Any) -> dict[str, Any]:
    """Return the choices and the usage of a greedy answer, without ids and reused tokens."""
    request = {"messages": HELLO, "max_tokens": 60, "temperature": 0, "seed": 1, **request}
    answer = client.chat.completions.create(model=model, **request).model_dump()
    answer["usage"].pop("prompt_tokens_details")
    for choice in answer["choices"]:
        for call in choice["message"]["tool_calls"] or ():
            del call["id"]
    return {"choices": answer["choices"], "usage": answer["usage"]}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"logprobs": True, "top_logprobs": 2},
        {"n": 2, "logit_bias": {"5": -100}},
        {"messages": QUESTION, "tools": [WEATHER], "tool_choice": "required"},
        {
            "messages": QUESTION,
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
        {"messages": QUESTION, "response_format": SCHEMA},
        {"messages": QUESTION, "reasoning_effort": "low"},
        {"messages": QUESTION, "extra_body": {"enable_thinking": True}},
        {"stop": ["can"]},
    ],
    ids=["text", "logprobs", "n", "required", "named", "schema", "effort", "reasoning", "stop"],
)
def test_the_answer_is_that_of_the_upstream_itself(
    request_: dict[str, Any], client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    assert message(client, "lab:tiny-chat", **request_) == message(direct, "tiny-chat", **request_)


def test_a_stream_has_the_same_text_and_its_usage(
    client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    request: dict[str, Any] = {"messages": HELLO, "temperature": 0, "stream": True}
    request["stream_options"] = {"include_usage": True}
    texts, counts = [], []
    for asked, model in ((client, "lab:tiny-chat"), (direct, "tiny-chat")):
        chunks = list(asked.chat.completions.create(model=model, **request))
        texts.append("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
        usage = chunks[-1].usage
        assert usage is not None
        counts.append((usage.prompt_tokens, usage.completion_tokens))
    assert texts[0] == texts[1] != ""
    assert counts[0] == counts[1]


def test_a_tool_result_goes_on_the_conversation(
    client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    def said(asked: openai.OpenAI, model: str) -> list[Any]:
        call = {"name": "get_weather", "arguments": '{"city": "Paris", "days": 2}'}
        calls = [{"id": "call_7", "type": "function", "function": call}]
        messages = [
            *QUESTION,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_7", "content": "Sunny."},
        ]
        answer = message(asked, model, messages=messages, tools=[WEATHER])
        return [answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]]

    assert said(client, "lab:tiny-chat") == said(direct, "tiny-chat")


def test_an_image_reaches_the_upstream(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Which colour is it?"},
    ]
    messages = [{"role": "user", "content": content}]
    answer = message(client, "lab:tiny-vision", messages=messages)
    assert answer == message(direct, "tiny-vision", messages=messages)
    with pytest.raises(openai.BadRequestError, match="takes no images"):
        message(client, "lab:tiny-chat", messages=messages)


def test_texts_and_embeddings_are_those_of_the_upstream(
    client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    texts = [
        asked.completions.create(model=model, prompt=["Hello", "A"], temperature=0, logprobs=1)
        for asked, model in ((client, "lab:tiny-chat"), (direct, "tiny-chat"))
    ]
    assert texts[0].choices == texts[1].choices
    vectors = [
        asked.embeddings.create(model=model, input=["Hello", "Bye"], dimensions=8).data
        for asked, model in ((client, "lab:tiny-chat"), (direct, "tiny-chat"))
    ]
    assert vectors[0] == vectors[1]


def test_responses_run_in_the_background_and_continue(
    client: openai.OpenAI, near: RunningServer
) -> None:
    first = client.responses.create(
        model="lab:tiny-chat", input="Hello!", background=True, reasoning={"effort": "none"}
    )
    ended = wait_for(
        lambda: (r := client.responses.retrieve(first.id)).status == "completed" and r, 60
    )
    assert ended.output_text
    assert ended.reasoning.effort == "none"
    second = client.responses.create(
        model="lab:tiny-chat", input="Thanks!", previous_response_id=first.id, temperature=0
    )
    assert second.usage is not None
    assert ended.usage is not None
    assert second.usage.input_tokens > ended.usage.input_tokens
    events = [
        event.type
        for event in client.responses.create(model="lab:tiny-chat", input="Hello!", stream=True)
    ]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


def test_anthropics_client_calls_tools_of_an_upstream(near: RunningServer) -> None:
    function = WEATHER["function"]
    tool: Any = {"name": function["name"], "input_schema": function["parameters"]}
    with anthropic.Anthropic(base_url=near.url, api_key=TOKEN, max_retries=0) as client:
        asked: Any = QUESTION
        with client.messages.stream(
            model="lab:tiny-chat",
            max_tokens=100,
            messages=asked,
            tools=[tool],
            tool_choice={"type": "any"},
            extra_body={"temperature": 0},
        ) as stream:
            final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    (call,) = (block for block in final.content if block.type == "tool_use")
    assert call.input == {"city": "Paris", "days": 2}


def test_mlx_lms_server_is_an_upstream_too(client: openai.OpenAI, mlx_lm: str) -> None:
    model = str(TINY_CHAT)
    with openai.OpenAI(base_url=mlx_lm, api_key="none", max_retries=0) as itself:
        for request in ({}, {"messages": QUESTION, "tools": [WEATHER]}):
            theirs = message(itself, model, **request)
            ours = message(client, f"lm:{model}", **request)
            (given,), (expected,) = ours["choices"], theirs["choices"]
            assert given["finish_reason"] == expected["finish_reason"]
            for name in ("content", "tool_calls"):
                assert (given["message"][name] or "") == (expected["message"][name] or "")
            for name in ("prompt_tokens", "completion_tokens"):
                assert ours["usage"][name] == theirs["usage"][name] > 0
    assert given["message"]["tool_calls"]


def test_only_its_users_see_and_use_an_upstream(near: RunningServer) -> None:
    def models(name: str) -> set[str]:
        headers = {"Authorization": f"Bearer {token_of(name)}"}
        listed = near.client.get("v1/models", headers=headers).json()["data"]
        shown = near.client.get("mlx/models", headers=headers).json()["models"]
        assert {m["id"] for m in listed} <= {m["id"] for m in shown}
        return {m["id"] for m in shown if m["source"] == "upstream"}

    assert "class:tiny-chat" in models("ann")
    assert "class:tiny-chat" not in models("cem")
    assert "lab:tiny-chat" in models("cem")
    for name, status in (("ann", 200), ("cem", 403)):
        headers = {"Authorization": f"Bearer {token_of(name)}"}
        body = {"model": "class:tiny-chat", "messages": HELLO, "max_tokens": 4}
        response = near.client.post("v1/chat/completions", json=body, headers=headers)
        assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == "upstream_not_allowed"


def test_no_engine_is_needed(near: RunningServer) -> None:
    assert near.chat(model="lab:tiny-chat").status_code == 200
    assert near.status()["engine"]["state"] == "stopped"
