"""The official `openai` client: responses, and its tool runner."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest
from openai.lib._tools import pydantic_function_tool
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

from tests.server.running import RunningServer

SHORT: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_output_tokens": 8}
QUESTION = "What is the weather in Paris for 2 days?"


class Weather(pydantic.BaseModel):
    """Tell the weather."""

    city: Literal["Paris", "Oslo"]
    days: Literal[1, 2]


class Verdict(pydantic.BaseModel):
    right: bool
    mark: Literal["A", "B", "C"]


def flat(tool: Any) -> dict[str, Any]:
    """Return a function tool in the form of this endpoint."""
    return {"type": "function", **tool["function"]}


WEATHER: Any = flat(pydantic_function_tool(Weather))


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def test_a_response_exists_until_it_is_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(**SHORT, input="Hello", instructions="Be short.")
    type(made).model_validate(made.to_dict())
    assert client.responses.retrieve(made.id).to_dict() == made.to_dict()
    items = client.responses.input_items.list(made.id)
    assert [item.type for item in items] == ["message"]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve(made.id)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]


def test_a_response_continues_the_previous_one(client: openai.OpenAI) -> None:
    first = client.responses.create(**SHORT, input="My name is Ann.")
    second = client.responses.create(
        **SHORT, input="What is my name?", previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens
    assert len(client.responses.input_items.list(second.id, order="asc").data) == 3
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(**SHORT, input="Hi", previous_response_id="resp_none")
    assert caught.value.param == "previous_response_id"


def test_the_stream_helper_sends_events_in_order_and_parses(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny-chat", "input": "Hello", "temperature": 0}
    with client.responses.stream(**asked, text_format=Verdict, max_output_tokens=100) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert isinstance(final.output_parsed, Verdict)
    parsed = client.responses.parse(**asked, text_format=Verdict, max_output_tokens=100)
    assert parsed.output_parsed == final.output_parsed


def test_a_streamed_call_is_parsed(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model="tiny-chat",
        input=QUESTION,
        tools=[pydantic_function_tool(Weather)],  # type: ignore[list-item]
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=100,
    ) as stream:
        deltas = [e.delta for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    [call] = [item for item in final.output if item.type == "function_call"]
    assert "".join(deltas) == call.arguments
    assert isinstance(call.parsed_arguments, Weather)


class Steered(openai.OpenAI):
    """A client that requires a call in its first request and forbids more in the next.

    The runner leaves the choice to the model, and this model may choose wrongly.
    """

    requests = 0

    def _prepare_options(self, options: Any) -> Any:
        options = super()._prepare_options(options)
        choice = "none" if self.requests else "required"
        options.json_data = {**options.json_data, "tool_choice": choice}
        self.requests += 1
        return options


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_tool_runner_calls_the_function_and_sends_its_result_back(
    server: RunningServer, stream: bool
) -> None:
    calls: list[dict[str, object]] = []

    def tell(arguments: dict[str, object]) -> str:
        calls.append(arguments)
        return json.dumps({"weather": "sunny"})

    runner = ResponsesToolRunner(functions=[RegisteredFunction(WEATHER, tell)])
    with Steered(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        final = runner.run(
            client,
            {
                "model": "tiny-chat",
                "input": QUESTION,
                "temperature": 0,
                "max_output_tokens": 100,
                "parallel_tool_calls": False,
            },
            max_steps=3,
            stream=stream,
        )
        assert client.requests == 2
    assert len(calls) == 1
    Weather.model_validate(calls[0])
    assert final.output_text
