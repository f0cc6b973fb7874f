from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.server.running import RunningServer, wait_for

FIXED: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_tokens": 4}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token) as made:
        yield made


def test_a_text_is_continued_in_openais_shape(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        **FIXED, prompt="Once upon a time", extra_body={"ignore_eos": True}
    )
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer._request_id == answer.id
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None


def test_without_max_tokens_it_writes_sixteen(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny-chat", prompt="A", extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_each_prompt_has_its_choices_in_order(client: openai.OpenAI) -> None:
    prompts = ["One", "Two and more", "Three"]
    answer = client.completions.create(**FIXED, prompt=prompts, n=2, echo=True)
    assert [choice.index for choice in answer.choices] == list(range(6))
    for choice in answer.choices:
        assert choice.text.startswith(prompts[choice.index // 2])
    alone = [client.completions.create(**FIXED, prompt=prompt, echo=True) for prompt in prompts]
    assert [answer.choices[0].text for answer in alone] == [
        choice.text for choice in answer.choices[::2]
    ]
    assert answer._request_id == answer.id


def test_token_ids_are_fed_as_they_are(server: RunningServer, client: openai.OpenAI) -> None:
    first = server.client.post("tokenize", json={"content": "One two"}).json()["tokens"]
    second = server.client.post("tokenize", json={"content": "Three"}).json()["tokens"]
    one = client.completions.create(**FIXED, prompt=first, echo=True)
    assert one.choices[0].text.startswith("One two")
    both = client.completions.create(**FIXED, prompt=[first, second], echo=True)
    assert both.choices[0].text == one.choices[0].text
    assert both.choices[1].text.startswith("Three")
    assert both.usage is not None
    assert both.usage.prompt_tokens == len(first) + len(second)


def test_a_prompt_is_scored_without_generating(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        **{**FIXED, "max_tokens": 0}, prompt="Hello there, you two", echo=True, logprobs=1
    )
    choice = answer.choices[0]
    assert choice.text == "Hello there, you two"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0
    told = choice.logprobs
    assert told is not None
    assert told.tokens
    assert "".join(told.tokens) == choice.text
    assert told.token_logprobs
    assert told.token_logprobs[0] is None
    assert all(value <= 0 for value in told.token_logprobs[1:])
    assert told.text_offset is not None
    for offset, token in zip(told.text_offset, told.tokens, strict=True):
        assert choice.text[offset : offset + len(token)] == token
    assert told.top_logprobs
    assert told.top_logprobs[0] is None
    for token, value, top in list(
        zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True)
    )[1:]:
        assert top[token] == value
        assert max(top.values()) >= value


def test_a_scored_prompt_may_leave_room_for_just_one_token(server: RunningServer) -> None:
    asked = {**FIXED, "model": "short", "max_tokens": 1, "echo": True, "logprobs": 1}
    answer = server.client.post("v1/completions", json={**asked, "prompt": [[65] * 63]})
    (choice,) = answer.raise_for_status().json()["choices"]
    assert len(choice["logprobs"]["tokens"]) == 64
    refused = server.client.post("v1/completions", json={**asked, "prompt": [[65] * 65]})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {**FIXED, "prompt": ["One", "Two"], "echo": True, "logprobs": 1}
    whole = client.completions.create(**options)
    chunks = list(
        client.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        parts = [c.choices[0] for c in chunks[:-1] if c.choices[0].index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert parts[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None
        offsets = [at for part in parts if part.logprobs for at in part.logprobs.text_offset or []]
        assert offsets == choice.logprobs.text_offset


def test_more_prompts_than_the_engine_takes_at_once_are_all_answered(
    server: RunningServer,
) -> None:
    body = {**FIXED, "max_tokens": 1, "prompt": [f"Number {i}" for i in range(40)]}
    answer = server.client.post("v1/completions", json=body).raise_for_status().json()
    assert len(answer["choices"]) == 40


def test_all_prompts_of_a_request_are_stopped_together(server: RunningServer) -> None:
    body = {**FIXED, "max_tokens": 3000, "prompt": ["a", "b", "c"], "ignore_eos": True}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.client.post, "v1/completions", json=body)

        def parts() -> list[str]:
            ids = [request["id"] for request in server.status()["requests"]]
            return ids if len(ids) == 3 else []

        id = wait_for(parts, 20)[0].partition(".")[0]
        assert server.client.post(f"mlx/cancel/{id}").json() == {"id": id, "cancelled": True}
        response = waiting.result(10)
    assert response.json()["error"]["code"] == "request_cancelled"
    assert server.wait_until_idle()


def test_an_answer_takes_the_shape_that_is_asked(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        **{**FIXED, "max_tokens": 20}, prompt="A number:", extra_body={"guided_regex": "[0-9]{3}"}
    )
    assert len(answer.choices[0].text) == 3
    assert answer.choices[0].text.isdigit()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [10**8]}, "prompt"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": [1], "suffix": "b"}, "prompt"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "echo"),
        ({"prompt": "a", "logprobs": 50}, "logprobs"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "guided_regex": "(("}, "guided_regex"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    server: RunningServer, body: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        response = server.client.post("v1/completions", json={**body, "stream": stream})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["param"] == param


def test_a_prompt_longer_than_the_context_is_refused(server: RunningServer) -> None:
    body = {"model": "short", "prompt": ["ok", "word " * 100]}
    error = server.client.post("v1/completions", json=body).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "prompt"
    assert server.works()
