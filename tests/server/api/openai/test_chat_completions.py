import asyncio
import json
import os
import signal
from typing import Any

import httpx
import openai
import pytest

from tests.server.running import HELLO, RunningServer, running, wait_for

FIXED = {"temperature": 0, "ignore_eos": True, "max_tokens": 12}


def events(text: str) -> list[Any]:
    """The data of an event stream: JSON, or the text where it is none."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) if line.startswith("{") else line for line in lines]


def test_an_answer_has_the_shape_that_openai_describes(server: RunningServer) -> None:
    answer = server.chat(**FIXED, model="tiny-chat").raise_for_status().json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny-chat"
    assert answer["id"].startswith("chatcmpl-")
    assert len(answer["id"]) == len("chatcmpl-") + 12
    assert answer["system_fingerprint"].startswith("fp_")
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["role"] == "assistant"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12
    assert "cached_tokens" in usage["prompt_tokens_details"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_a_late_system_message_stays_in_its_place_and_is_named(server: RunningServer) -> None:
    early = [{"role": "developer", "content": "A"}, {"role": "system", "content": "B"}, *HELLO]
    late = [*early, {"role": "system", "content": "C"}, *HELLO]
    for path, body in (
        ("v1/chat/completions", {"model": "tiny-chat", "max_tokens": 2, "messages": late}),
        ("v1/responses", {"model": "tiny-chat", "max_output_tokens": 2, "input": late}),
        ("v1/messages", {"model": "tiny-chat", "max_tokens": 2, "messages": late[1:]}),
    ):
        answer = server.client.post(path, json=body).raise_for_status()
        notice = answer.headers["x-mlx-notices"]
        assert "marked with <system> in a user message" in notice
        traced = server.client.get(f"mlx/traces/{answer.headers['x-request-id']}").json()
        assert traced["notices"] == [notice]
        assert [message["role"] for message in traced["messages"]] == ["system", "user"]
    assert "x-mlx-notices" not in server.chat(**FIXED, messages=early).headers


def test_a_stream_says_the_same_as_a_whole_answer(server: RunningServer) -> None:
    whole = server.chat(**FIXED).json()["choices"][0]["message"]["content"]
    response = server.chat(**FIXED, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    first, *chunks, last, done = events(response.text)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "length",
    }
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in [first, *chunks, last]}) == 1
    assert "usage" not in first


def test_usage_comes_last_in_a_stream_that_asks_for_it(server: RunningServer) -> None:
    response = server.chat(**FIXED, stream=True, stream_options={"include_usage": True})
    *chunks, usage, done = events(response.text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 12


def test_a_request_without_a_model_gets_the_default_one(server: RunningServer) -> None:
    assert server.chat().json()["model"] in ("tiny-chat", "short", "org/other")


def test_an_alias_is_echoed_as_the_client_wrote_it(server: RunningServer) -> None:
    answer = server.chat(model="alias").raise_for_status().json()
    assert answer["model"] == "alias"
    wait_for(lambda: "org/other" in [m["id"] for m in server.status()["models"]], 5)


def test_several_choices_are_told_apart(server: RunningServer) -> None:
    answer = server.chat(**{**FIXED, "temperature": 1}, n=3, seed=5).raise_for_status().json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 36
    response = server.chat(**FIXED, n=2, stream=True)
    rows = {chunk["choices"][0]["index"] for chunk in events(response.text)[:-1]}
    assert rows == {0, 1}


def test_the_same_seed_gives_the_same_text(server: RunningServer) -> None:
    options = {**FIXED, "temperature": 1.5, "max_tokens": 30}
    first, second, other = (
        server.chat(**options, seed=seed).json()["choices"][0]["message"]["content"]
        for seed in (7, 7, 8)
    )
    assert first == second != other


def test_messages_of_every_role_and_form_are_taken(server: RunningServer) -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "3"},
        {"role": "user", "content": "Go on.", "name": "ann"},
    ]
    assert server.chat(messages=messages).status_code == 200


def test_parameters_that_ask_for_nothing_are_taken(server: RunningServer) -> None:
    response = server.chat(
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        logprobs=False,
        n=1,
        user="ann",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        something_new={"x": 1},
        stop=None,
        temperature=None,
    )
    assert response.status_code == 200, response.text


def test_log_probabilities_tell_which_tokens_a_schema_forced(server: RunningServer) -> None:
    answer = {"enum": ["yes", "no"]}
    schema = {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    format = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = {"response_format": format, "logprobs": True, "top_logprobs": 2, "temperature": 0}
    [choice] = server.chat(**asked, max_tokens=40).raise_for_status().json()["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    forced = "".join(token["token"] for token in tokens if token.get("forced"))
    assert '"answer"' in forced
    assert any("forced" not in token for token in tokens)
    assert all(token["entropy"] >= 0 for token in tokens)


def test_a_prompt_longer_than_the_context_is_told_with_its_counts(server: RunningServer) -> None:
    long = [{"role": "user", "content": "word " * 200}]
    for stream in (False, True):
        response = server.chat(model="short", messages=long, stream=stream)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert error["param"] == "messages"
        assert "64" in error["message"]
    assert server.works()


def test_a_client_that_goes_away_ends_its_generation(server: RunningServer) -> None:
    body = {"messages": HELLO, "max_tokens": 30000, "ignore_eos": True, "model": "long"}
    before = server.wait_until_idle()["totals"]["cancelled"]
    with server.client.stream("POST", "v1/chat/completions", json={**body, "stream": True}) as r:
        next(r.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("v1/chat/completions", json=body, timeout=0.5)
    # Thirty thousand tokens would take minutes.
    status = server.wait_until_idle(10)
    assert status["totals"]["cancelled"] == before + 2
    assert server.works()


def test_the_official_client_chats_streams_and_raises(server: RunningServer) -> None:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token) as client:
        answer = client.chat.completions.create(
            model="tiny-chat", messages=HELLO, max_tokens=5, extra_body={"ignore_eos": True}
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert answer._request_id == answer.id
        stream = client.chat.completions.create(
            model="tiny-chat", messages=HELLO, max_tokens=5, temperature=0, stream=True
        )
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")
        assert "tiny-chat" in [model.id for model in client.models.list()]
        assert client.models.retrieve("org/other").id == "org/other"
        with pytest.raises(openai.NotFoundError, match="tiny-chat"):
            client.chat.completions.create(model="nonesuch", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny-chat", messages=HELLO, temperature=9)
        assert caught.value.param == "temperature"
        with pytest.raises(openai.AuthenticationError, match="token"):
            client.with_options(api_key="wrong").models.list()


def test_the_official_async_client_streams_many_at_once(server: RunningServer) -> None:
    async def one(client: openai.AsyncOpenAI, seed: int) -> str:
        stream = await client.chat.completions.create(
            model="tiny-chat", messages=HELLO, max_tokens=20, seed=seed, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def many() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key=server.token) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(8)))

    assert len(asyncio.run(many())) == 8


def test_a_waiting_client_hears_that_its_request_lives() -> None:
    with running(config={"MlxNotebookApp": {"keep_alive_seconds": 0.1}}) as server:
        body = {"messages": HELLO, "max_tokens": 5, "stream": True, "ignore_eos": True}
        # The engine is not running yet.
        with server.client.stream("POST", "v1/chat/completions", json=body) as response:
            lines = list(response.iter_lines())
            assert lines[0] == ": keep-alive starting"
            assert lines[-2] == "data: [DONE]"
        pid = server.engine_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            with server.client.stream("POST", "v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                assert next(lines).startswith(": keep-alive")
                os.kill(pid, signal.SIGCONT)
                assert "data: [DONE]" in list(lines)
        finally:
            os.kill(pid, signal.SIGCONT)
