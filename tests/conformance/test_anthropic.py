"""The official `anthropic` client: messages, tools, tool runner, reasoning, counting, errors."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import pydantic
import pytest
from anthropic import beta_async_tool, beta_tool

from tests.server.running import HELLO, RunningServer

GREEDY: dict[str, Any] = {
    "model": "tiny-chat",
    "messages": HELLO,
    "extra_body": {"temperature": 0},
}
SHORT: dict[str, Any] = {**GREEDY, "max_tokens": 8}
SHORT["extra_body"] = {"temperature": 0, "ignore_eos": True}
QUESTION = [{"role": "user", "content": "What is the weather in Paris for 2 days?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Oslo"]}, "days": {"enum": [1, 2]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
ASKED: dict[str, Any] = {
    **GREEDY,
    "messages": QUESTION,
    "max_tokens": 100,
    "tools": [WEATHER],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=server.token, max_retries=0) as client:
        yield client


def strictly(message: Any) -> Any:
    """Check a message against the official types, which the client does not do, and return it."""
    return type(message).model_validate(message.to_dict())


def test_a_message_is_answered_complete_and_streamed(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**SHORT, system="Be short.")
    strictly(whole)
    assert whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == 8
    with client.messages.stream(**SHORT, system="Be short.") as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert [block.text for block in whole.content if block.type == "text"] == [text]
    assert final.usage.output_tokens == 8
    kinds = [event.type for event in client.messages.create(**SHORT, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_call_is_made_and_its_result_answered(client: anthropic.Anthropic) -> None:
    first = client.messages.create(**ASKED)
    strictly(first)
    assert first.stop_reason == "tool_use"
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert set(call.input) == {"city", "days"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    second = client.messages.create(
        **{
            **ASKED,
            "tool_choice": {"type": "none"},
            "messages": [
                *QUESTION,
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [result]},
            ],
        }
    )
    strictly(second)
    assert second.stop_reason in ("end_turn", "max_tokens")
    assert second.usage.cache_read_input_tokens


def test_a_streamed_call_comes_in_parts(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASKED) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    [call] = [block for block in final.content if block.type == "tool_use"]
    assert json.loads("".join(parts)) == call.input
    assert len(parts) > 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_tool_runner_calls_the_function_and_sends_its_result_back(
    client: anthropic.Anthropic, stream: bool
) -> None:
    calls: list[tuple[str, int]] = []

    @beta_tool
    def get_weather(city: Literal["Paris", "Oslo"], days: Literal[1, 2]) -> str:
        """Tell the weather.

        Args:
            city: Where.
            days: For how many days.
        """
        calls.append((city, days))
        return "sunny"

    # Both turns must call a tool: the model's own choice is not tested.
    runner: Any = client.beta.messages.tool_runner(
        **{**ASKED, "tools": [get_weather]}, max_iterations=2, stream=stream
    )
    answers = [turn.get_final_message() if stream else turn for turn in runner]
    assert [answer.stop_reason for answer in answers] == ["tool_use", "tool_use"]
    assert calls
    assert calls[0][0] in ("Paris", "Oslo")
    # The prompt of the second turn has the call and the result of the first one.
    read = [
        answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
        for answer in answers
    ]
    assert read[1] > read[0]


def test_the_asynchronous_client_does_the_same(server: RunningServer) -> None:
    calls: list[str] = []

    @beta_async_tool
    async def get_weather(city: Literal["Paris", "Oslo"]) -> str:
        """Tell the weather."""
        calls.append(city)
        return "sunny"

    async def story() -> tuple[Any, str]:
        async with anthropic.AsyncAnthropic(
            base_url=server.url, api_key=server.token, max_retries=0
        ) as client:
            whole = await client.messages.create(**SHORT)
            async with client.messages.stream(**SHORT) as stream:
                text = await stream.get_final_text()
            runner: Any = client.beta.messages.tool_runner(
                **{**ASKED, "tools": [get_weather]}, max_iterations=2
            )
            await runner.until_done()
            return whole, text

    whole, text = asyncio.run(story())
    assert whole.content[0].text == text
    assert calls


def test_reasoning_has_its_own_blocks_and_can_be_sent_back(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 8}
    asked: dict[str, Any] = {**GREEDY, "max_tokens": 60, "thinking": thinking}
    with client.messages.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_message()
    strictly(final)
    kinds = [block.type for block in final.content]
    assert kinds in (["thinking"], ["thinking", "text"], ["text"])
    told = "".join(event.thinking for event in events if event.type == "thinking")
    assert told == "".join(block.thinking for block in final.content if block.type == "thinking")
    again = client.messages.create(
        **{
            **asked,
            "messages": [
                *HELLO,
                {"role": "assistant", "content": final.content},
                {"role": "user", "content": "And now?"},
            ],
        }
    )
    strictly(again)


def test_parse_gives_a_pydantic_model(client: anthropic.Anthropic) -> None:
    class Verdict(pydantic.BaseModel):
        right: bool

    answer = client.messages.parse(**GREEDY, max_tokens=60, output_format=Verdict)
    assert isinstance(answer.parsed_output, Verdict)


def test_the_token_count_is_that_of_the_prompt(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": "tiny-chat",
        "messages": HELLO,
        "system": "Be short.",
        "tools": [WEATHER],
    }
    usage = client.messages.create(**asked, max_tokens=1).usage
    counted = client.messages.count_tokens(**asked).input_tokens
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


FAULTS: list[tuple[dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
    ({"model": "claude-none"}, anthropic.NotFoundError, "not_found_error", "claude-none"),
    ({"messages": []}, anthropic.BadRequestError, "invalid_request_error", "messages"),
    ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
    (
        {
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": {"type": "any"},
        },
        anthropic.BadRequestError,
        "invalid_request_error",
        "web_search_20250305",
    ),
    (
        {"messages": [{"role": "user", "content": "word " * 40_000}]},
        anthropic.BadRequestError,
        "invalid_request_error",
        "tokens",
    ),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("change", "kind", "type", "named"), FAULTS)
def test_errors_are_raised_as_the_clients_exceptions(
    client: anthropic.Anthropic,
    change: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    type: str,
    named: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        client.messages.create(**{**SHORT, **change}, stream=stream)
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == type
    assert named in body["error"]["message"]


def test_a_wrong_key_is_an_authentication_error(server: RunningServer) -> None:
    with (
        anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(**SHORT)
    body: Any = caught.value.body
    assert body["error"]["type"] == "authentication_error"


def test_models_are_listed_page_by_page(client: anthropic.Anthropic) -> None:
    whole = client.models.list()
    for model in whole.data:
        anthropic.types.ModelInfo.model_validate(model.to_dict())
    names = [model.id for model in client.models.list(limit=1)]
    assert names == [model.id for model in whole.data]
    assert "tiny-chat" in names
    assert len(names) > 1
    first = client.models.list(limit=1)
    assert (first.first_id, first.last_id, first.has_more) == (names[0], names[0], True)
    before = client.models.list(limit=1, before_id=names[-1])
    assert [model.id for model in before.data] == [names[-2]]
    assert client.models.list(lifecycle=["retired"]).data == []


def test_a_model_is_described(client: anthropic.Anthropic) -> None:
    model = client.models.retrieve("tiny-chat")
    assert model.type == "model"
    assert model.max_input_tokens
    assert model.created_at.year >= 2024


def test_errors_about_models_are_anthropics(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.models.retrieve("nonesuch")
    assert isinstance(missing.value.body, dict)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.models.list(limit=0)
    assert isinstance(wrong.value.body, dict)
    assert wrong.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.AuthenticationError) as stranger:
        client.with_options(api_key="wrong").models.list()
    assert isinstance(stranger.value.body, dict)
    assert stranger.value.body["error"]["type"] == "authentication_error"


def test_a_prefilled_answer_is_continued(client: anthropic.Anthropic) -> None:
    turns: list[Any] = [{"role": "user", "content": "Hello!"}]
    options: Any = {"model": "tiny-chat", "max_tokens": 12, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**options, messages=turns)
    assert isinstance(whole.content[0], anthropic.types.TextBlock)
    said = whole.content[0].text.split()[0]
    prefilled = [*turns, {"role": "assistant", "content": said}]
    rest = client.messages.create(**options, messages=prefilled)
    assert isinstance(rest.content[0], anthropic.types.TextBlock)
    assert (said + rest.content[0].text).startswith(whole.content[0].text[:12])
    counted = client.messages.count_tokens(model="tiny-chat", messages=prefilled)
    assert counted.input_tokens == rest.usage.input_tokens + (
        rest.usage.cache_read_input_tokens or 0
    )
