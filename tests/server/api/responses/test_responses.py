import json
from collections.abc import Iterator
from typing import Any

import openai
import openai.types.responses as sdk
import pydantic
import pytest

from tests.server.running import RunningServer, running, wait_for

FIXED: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_output_tokens": 8}
LONG = {"model": "tiny-chat", "max_output_tokens": 3000, "extra_body": {"ignore_eos": True}}
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "parameters": {
        "type": "object",
        "properties": {"metric": {"type": "boolean"}, "days": {"enum": [1, 2]}},
        "required": ["metric", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(sdk.ResponseStreamEvent)


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def strictly(response: Any) -> Any:
    """The response, checked against the official types, which the client itself does not do."""
    return type(response).model_validate(response.to_dict())


def test_a_response_has_the_shape_that_openai_describes(client: openai.OpenAI) -> None:
    response = client.responses.create(
        **FIXED,
        input="Hello",
        instructions="Be short.",
        metadata={"topic": "greeting"},
        user="ann",
        service_tier="auto",
        prompt_cache_key="k",
        extra_body={"ignore_eos": True},
    )
    strictly(response)
    assert response.id.startswith("resp_")
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 8
    assert response.instructions == "Be short."
    assert response.metadata == {"topic": "greeting"}
    assert response.temperature == 0
    assert response._request_id == response.id
    assert [item.type for item in response.output] == ["message"]


def test_a_stream_tells_the_same_as_a_whole_response(
    client: openai.OpenAI, server: RunningServer
) -> None:
    body = {**FIXED, "input": "Hello", "ignore_eos": True, "store": False}
    whole = server.client.post("v1/responses", json=body).raise_for_status().json()
    streamed = server.client.post("v1/responses", json={**body, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in streamed.text.split("\n") if line.startswith("data: ")]
    events = [ADAPTER.validate_json(line.removeprefix("data: ")) for line in lines]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.incomplete")
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == whole["output"][0]["content"][0]["text"] == events[-1].response.output_text
    assert whole["store"] is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(whole["id"])


def test_the_official_stream_helper_collects_a_response(client: openai.OpenAI) -> None:
    class Answer(pydantic.BaseModel):
        metric: bool

    with client.responses.stream(
        model="tiny-chat", input="Hi", text_format=Answer, max_output_tokens=800
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert isinstance(final.output_parsed, Answer)


def test_parse_gives_a_pydantic_model(client: openai.OpenAI) -> None:
    class Answer(pydantic.BaseModel):
        right: bool
        number: int = pydantic.Field(ge=0, le=9)

    response = client.responses.parse(
        model="tiny-chat", input="Hi", text_format=Answer, max_output_tokens=800
    )
    assert isinstance(response.output_parsed, Answer)
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"


def test_a_call_goes_out_and_its_result_comes_back(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {**FIXED, "max_output_tokens": 400, "tools": [WEATHER]}
    first = client.responses.create(
        **asked, input="Weather?", tool_choice={"type": "function", "name": "get_weather"}
    )
    strictly(first)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather"
    arguments = json.loads(call.arguments)
    assert set(arguments) == {"metric", "days"}
    second = client.responses.create(
        **{**asked, "max_output_tokens": 8},
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
        tool_choice="none",
    )
    strictly(second)
    items = client.responses.input_items.list(second.id, order="asc").data
    kinds = [item.type for item in items]
    assert kinds[0] == "message"
    assert kinds[-2:] == ["function_call", "function_call_output"]
    with pytest.raises(openai.BadRequestError, match="call_x") as caught:
        client.responses.create(
            **FIXED,
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": "call_x", "output": ""}],
        )
    assert caught.value.param == "input[0].call_id"


def test_unknown_fields_of_content_parts_are_named(server: RunningServer) -> None:
    said = {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
    body = {
        **FIXED,
        "max_output_tokens": 16,
        "store": False,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hello", "colour": "red"}]},
            {"role": "assistant", "id": "msg_1", "status": "completed", "content": [said]},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "And", "cache_control": {"type": "ephemeral"}},
                    {"type": "input_text", "text": "you?", "note": None},
                ],
            },
        ],
    }
    answer = server.client.post("v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    named = "input[0].content[0].colour, input[2].content[0].cache_control"
    assert answer.headers["x-mlx-ignored-parameters"] == named


def test_an_agent_may_offer_tools_that_only_openai_runs(
    client: openai.OpenAI, server: RunningServer
) -> None:
    """They are left out and named; functions in a namespace are called by both of their names."""
    space: Any = {"type": "namespace", "name": "mcp__sky__", "description": "", "tools": [WEATHER]}
    asked: dict[str, Any] = {
        **FIXED,
        "max_output_tokens": 400,
        "tools": [{"type": "web_search"}, space],
        "tool_choice": {"type": "function", "name": "get_weather", "namespace": "mcp__sky__"},
    }
    raw = client.responses.with_raw_response.create(**asked, input="Weather?")
    assert raw.headers["x-mlx-ignored-parameters"] == "tools[0]:web_search"
    first = raw.parse()
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, call.to_dict()["namespace"]) == ("get_weather", "mcp__sky__")
    trace = server.client.get(f"mlx/traces/{first.id}").json()
    assert [tool["function"]["name"] for tool in trace["tools"]] == ["mcp__sky__get_weather"]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(
        **{**asked, "max_output_tokens": 8, "tool_choice": "auto"},
        input=[{"role": "user", "content": "Weather?"}, call.to_dict(), output],
    )
    [said] = [
        message
        for message in server.client.get(f"mlx/traces/{second.id}").json()["messages"]
        if message.get("tool_calls")
    ]
    assert said["tool_calls"][0]["function"]["name"] == "mcp__sky__get_weather"


def test_a_streamed_call_parses_as_it_is_made(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model="tiny-chat",
        input="Weather?",
        tools=[WEATHER],  # type: ignore[list-item]
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=400,
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    [call] = [item for item in final.output if item.type == "function_call"]
    assert "".join(deltas) == call.arguments
    assert call.parsed_arguments == json.loads(call.arguments)


def test_allowed_tools_narrow_the_choice(client: openai.OpenAI) -> None:
    other = {**WEATHER, "name": "other"}
    response = client.responses.create(
        **{**FIXED, "max_output_tokens": 400},
        input="Go",
        tools=[WEATHER, other],
        parallel_tool_calls=False,
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "other"}],
        },
    )
    strictly(response)
    assert [i.name for i in response.output if i.type == "function_call"] == ["other"]


def test_a_chain_of_responses_is_one_conversation(client: openai.OpenAI) -> None:
    first = client.responses.create(**FIXED, input="My name is Ann.", instructions="Be short.")
    second = client.responses.create(
        **FIXED, input=[{"role": "user", "content": "And my age?"}], previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    assert second.instructions is None
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    items = client.responses.input_items.list(second.id)
    assert [getattr(item, "role", None) for item in items.data] == ["user", "assistant", "user"]
    page = client.responses.input_items.list(second.id, limit=2, order="asc")
    assert page.has_more
    rest = client.responses.input_items.list(second.id, order="asc", after=page.data[-1].id)
    assert [item.id for item in [*page.data, *rest.data]] == [i.id for i in reversed(items.data)]
    assert len(list(client.responses.input_items.list(second.id, limit=1))) == 3
    assert client.responses.retrieve(second.id) == second
    again = client.responses.create(
        **FIXED, input=[{"type": "item_reference", "id": items.data[-1].id}]
    )
    assert client.responses.input_items.list(again.id).data[0].id == items.data[-1].id
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="was deleted") as caught:
        client.responses.create(**FIXED, input="So?", previous_response_id=second.id)
    assert caught.value.param == "previous_response_id"


def test_a_background_response_is_found_later(client: openai.OpenAI) -> None:
    response = client.responses.create(**FIXED, input="Hello", background=True)
    assert response.status in ("queued", "in_progress")

    def ended() -> Any:
        found = client.responses.retrieve(response.id)
        return found if found.status in ("completed", "incomplete") else None

    found = wait_for(ended, 30)
    strictly(found)
    assert found.background is True
    assert client.responses.cancel(response.id) == found
    again = client.responses.create(**FIXED, input="Go on", previous_response_id=response.id)
    assert again.previous_response_id == response.id


def test_a_background_response_is_cancelled(client: openai.OpenAI, server: RunningServer) -> None:
    response = client.responses.create(**LONG, input="Hello", background=True)
    cancelled = client.responses.cancel(response.id)
    assert strictly(cancelled).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"
    assert client.responses.cancel(response.id).status == "cancelled"
    server.wait_until_idle(10)
    with pytest.raises(openai.BadRequestError, match="background=true"):
        client.responses.cancel(client.responses.create(**FIXED, input="Hi").id)


def test_a_background_response_goes_on_without_its_client(
    client: openai.OpenAI, server: RunningServer
) -> None:
    stream = client.responses.create(
        **{**FIXED, "max_output_tokens": 40},
        input="Hello",
        background=True,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    seen = [next(stream) for _ in range(3)]
    stream.close()
    id = seen[0].response.id
    assert [event.type for event in seen[:2]] == ["response.created", "response.queued"]
    after = seen[-1].sequence_number
    rest = list(client.responses.retrieve(id, stream=True, starting_after=after))
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.incomplete"
    assert client.responses.retrieve(id).status == "incomplete"


def test_a_deleted_background_response_stops(client: openai.OpenAI, server: RunningServer) -> None:
    response = client.responses.create(**LONG, input="Hello", background=True)
    client.responses.delete(response.id)
    server.wait_until_idle(10)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_input_tokens_are_counted_as_they_will_be_used(
    client: openai.OpenAI,
) -> None:
    asked: dict[str, Any] = {"model": "tiny-chat", "input": "Hello", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(**asked)
    response = client.responses.create(**asked, max_output_tokens=1)
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens


def test_truncation_drops_the_oldest_turns(client: openai.OpenAI) -> None:
    turns: list[Any] = [{"role": "user", "content": f"Turn {number}."} for number in range(12)]
    asked: dict[str, Any] = {
        "model": "short",
        "input": [{"role": "developer", "content": "Be."}, *turns],
        "max_output_tokens": 8,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**asked)
    assert caught.value.code == "context_length_exceeded"
    response = client.responses.create(**asked, truncation="auto")
    assert strictly(response).truncation == "auto"
    assert response.usage is not None
    # Another turn would not have fitted into the 64 tokens of this model.
    assert 64 - 8 - 30 < response.usage.input_tokens <= 64 - 8


CONTAINS = {"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}}}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{}]}]}, "tools[0].tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]}},
            "tool_choice",
        ),
        ({"tools": [SEARCH], "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tools": [{"type": "custom", "name": "c"}], "tool_choice": "required"}, "tool_choice"),
        ({"webhook": "https://me.example"}, "webhook"),
        ({"webhook_url": "https://me.example", "background": True}, "webhook_url"),
        ({"webhooks": [{"url": "https://me.example"}]}, "webhooks"),
        ({"background_options": {"completion_window": "2h"}}, "background_options"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": CONTAINS}}},
            "text.format",
        ),
        ({"tools": [{**WEATHER, "parameters": CONTAINS, "strict": True}]}, "tools"),
        ({"model": "short", "input": "word " * 200}, "input"),
        ({"model": "short", "input": "word " * 200, "stream": True}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"background": True, "store": False}, "store"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"model": "nonesuch"}, "model"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"include": ["everything"]}, "include[0]"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"service_tier": "banana"}, "service_tier"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_wrong_is_named(server: RunningServer, change: dict[str, Any], param: str) -> None:
    response = server.client.post("v1/responses", json={"input": "Hi", **change})
    assert response.status_code == (404 if param == "model" else 400), response.text
    assert response.json()["error"]["param"] == param


def test_what_is_not_there_is_told(server: RunningServer) -> None:
    for method, path in [
        ("GET", "v1/responses/resp_x"),
        ("DELETE", "v1/responses/resp_x"),
        ("POST", "v1/responses/resp_x/cancel"),
        ("GET", "v1/responses/resp_x/input_items"),
    ]:
        response = server.client.request(method, path)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "response_not_found"


def test_a_server_that_stores_nothing_says_so_on_demand() -> None:
    with running(config={"MlxNotebookApp": {"responses_max_bytes": 0}}) as server:
        body = {"input": "Hi", "max_output_tokens": 2}
        response = server.client.post("v1/responses", json=body)
        assert response.json()["store"] is False
        refused = server.client.post("v1/responses", json={**body, "store": True})
        assert refused.status_code == 503
        assert "responses_max_bytes" in refused.json()["error"]["message"]
        assert not list(server.folder.glob("mlx_notebook/responses*"))
