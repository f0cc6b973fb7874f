"""The official `openai` client: chat, completions, embeddings, models, errors; sync and async."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.server.running import HELLO, RunningServer

GREEDY: dict[str, Any] = {"model": "tiny-chat", "messages": HELLO, "temperature": 0}
SHORT: dict[str, Any] = {**GREEDY, "max_tokens": 8, "extra_body": {"ignore_eos": True}}


class Weather(pydantic.BaseModel):
    """Tell the weather."""

    city: Literal["Paris", "Oslo"]
    days: Literal[1, 2]


class Verdict(pydantic.BaseModel):
    right: bool
    mark: Literal["A", "B", "C"]


WEATHER: Any = openai.pydantic_function_tool(Weather)
ASKED: dict[str, Any] = {
    "model": "tiny-chat",
    "temperature": 0,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "What is the weather in Paris for 2 days?"}],
    "tools": [WEATHER],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def strictly(answer: Any) -> Any:
    """Check an answer against the official types, which the client does not do, and return it."""
    return type(answer).model_validate(answer.to_dict())


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**SHORT)
    strictly(answer)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer._request_id == answer.id


def test_the_chunks_add_up_to_the_complete_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**SHORT)
    chunks = list(
        client.chat.completions.create(**SHORT, stream=True, stream_options={"include_usage": True})
    )
    for chunk in chunks:
        strictly(chunk)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage.model_copy(
        update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details}  # type: ignore[union-attr]
    )


def test_the_stream_helper_sends_events_and_keeps_a_snapshot(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        **SHORT, logprobs=True, top_logprobs=2, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.current_completion_snapshot
    kinds = {event.type for event in events}
    assert {"chunk", "content.delta", "content.done", "logprobs.content.done"} <= kinds
    [done] = [event for event in events if event.type == "content.done"]
    assert done.content == final.choices[0].message.content
    logprobs = final.choices[0].logprobs
    assert logprobs is not None
    assert [len(token.top_logprobs) for token in logprobs.content or []] == [2] * 8
    assert final.usage is not None
    assert final.usage.completion_tokens == 8


def test_the_stream_helper_parses_a_call_while_it_is_made(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASKED) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    [done] = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert len(deltas) > 1
    assert "".join(delta.arguments_delta for delta in deltas) == done.arguments
    [call] = final.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_parsed_answer_is_a_pydantic_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(**GREEDY, max_tokens=60, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    with client.chat.completions.stream(**GREEDY, max_tokens=60, response_format=Verdict) as stream:
        parsed = [event.parsed for event in stream if event.type == "content.done"]
    assert parsed == [answer.choices[0].message.parsed]


def test_the_parser_reports_an_answer_that_was_cut_off(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**GREEDY, max_tokens=2, response_format=Verdict)


def test_a_call_is_parsed_run_and_answered(client: openai.OpenAI) -> None:
    first = client.chat.completions.parse(**ASKED)
    message = first.choices[0].message
    [call] = message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    second = client.chat.completions.create(
        **{
            **ASKED,
            "tool_choice": "none",
            "messages": [
                *ASKED["messages"],
                message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
            ],
        }
    )
    strictly(second)
    assert second.choices[0].message.content
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens


def test_several_choices_of_one_request_are_kept_apart(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**{**SHORT, "temperature": 1}, n=3, seed=7)
    again = client.chat.completions.create(**{**SHORT, "temperature": 1}, n=3, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == [
        choice.message.content for choice in again.choices
    ]
    assert answer.system_fingerprint == again.system_fingerprint


def test_the_asynchronous_client_does_all_of_it_concurrently(server: RunningServer) -> None:
    async def story() -> tuple[Any, ...]:
        async with openai.AsyncOpenAI(
            base_url=server.openai_url, api_key=server.token, max_retries=0
        ) as client:

            async def chunks() -> str:
                stream = await client.chat.completions.create(**SHORT, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            async def helper() -> Any:
                async with client.chat.completions.stream(**ASKED) as stream:
                    return await stream.get_final_completion()

            return await asyncio.gather(
                client.chat.completions.create(**SHORT),
                chunks(),
                helper(),
                client.chat.completions.parse(**GREEDY, max_tokens=60, response_format=Verdict),
                client.embeddings.create(model="tiny-chat", input="Hello"),
                client.responses.create(model="tiny-chat", input="Hello", max_output_tokens=4),
                client.completions.create(model="tiny-chat", prompt="Hello", max_tokens=4),
            )

    whole, text, called, parsed, vectors, response, completion = asyncio.run(story())
    assert whole.choices[0].message.content == text
    assert called.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(parsed.choices[0].message.parsed, Verdict)
    assert vectors.data[0].embedding
    assert response.output_text
    assert completion.choices[0].finish_reason in ("stop", "length")


def test_texts_and_token_ids_are_completed(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny-chat",
        prompt=["Hello", "Good"],
        max_tokens=3,
        temperature=0,
        logprobs=2,
        echo=True,
        n=2,
        extra_body={"ignore_eos": True},
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text.startswith("Hello")
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    # As from OpenAI, the first token has no entry, which the official types do not allow for.
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    chunks = client.completions.create(
        model="tiny-chat", prompt=[[5, 6, 7]], max_tokens=3, stream=True
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] in ("stop", "length")


def test_texts_become_vectors_of_length_one(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny-chat", "input": ["Hello", "Good evening"]}
    # The client requests base64 by default and decodes it. Floats are requested explicitly.
    encoded = client.embeddings.create(**asked)
    floats = client.embeddings.create(**asked, encoding_format="float")
    strictly(floats)
    for packed, plain in zip(encoded.data, floats.data, strict=True):
        assert packed.embedding == pytest.approx(plain.embedding, abs=1e-6)
        assert sum(value**2 for value in plain.embedding) == pytest.approx(1, abs=1e-3)
    small = client.embeddings.create(**asked, dimensions=16)
    assert [len(item.embedding) for item in small.data] == [16, 16]


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    names = [strictly(model).id for model in client.models.list()]
    assert "tiny-chat" in names
    assert strictly(client.models.retrieve("tiny-chat")).owned_by == "local"


FAULTS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str | None]] = [
    ({"model": "gpt-none"}, openai.NotFoundError, "model_not_found", "model"),
    ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
    ({"temperature": 9}, openai.BadRequestError, "invalid_value", "temperature"),
    ({"audio": {"voice": "x", "format": "mp3"}}, openai.BadRequestError, None, "audio"),
    ({"tool_choice": "required"}, openai.BadRequestError, "invalid_request", "tool_choice"),
    (
        {"messages": [{"role": "user", "content": "word " * 40_000}]},
        openai.BadRequestError,
        "context_length_exceeded",
        "messages",
    ),
    (
        {"messages": [*HELLO, {"role": "tool", "tool_call_id": "call_x", "content": ""}]},
        openai.BadRequestError,
        None,
        "messages[1].tool_call_id",
    ),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("change", "kind", "code", "param"), FAULTS)
def test_errors_are_raised_as_the_clients_exceptions(
    client: openai.OpenAI,
    change: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str | None,
    param: str | None,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{**SHORT, **change}, stream=stream)
    error = caught.value
    assert isinstance(error.body, dict)
    assert error.body["message"]
    assert (error.code, error.param) == (error.body["code"], error.body["param"])
    assert error.param == param
    assert code in (None, error.code)


def test_a_wrong_key_is_an_authentication_error(server: RunningServer) -> None:
    with (
        openai.OpenAI(base_url=server.openai_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_raw_answers_and_chunks_are_of_the_official_types(server: RunningServer) -> None:
    """Without the client, which accepts any JSON for its types."""
    body = {**GREEDY, "max_tokens": 4}
    whole = server.client.post("v1/chat/completions", json=body).raise_for_status()
    ChatCompletion.model_validate(whole.json(), strict=True)
    streamed = server.client.post("v1/chat/completions", json={**body, "stream": True})
    lines = streamed.raise_for_status().text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    for line in lines[:-2]:
        ChatCompletionChunk.model_validate(json.loads(line.removeprefix("data: ")), strict=True)
