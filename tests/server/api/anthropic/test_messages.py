import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import anthropic.types as sdk
import httpx
import pydantic
import pytest

from tests.server.running import HELLO, RunningServer

FIXED: dict[str, Any] = {
    "model": "tiny-chat",
    "max_tokens": 8,
    "messages": HELLO,
    "extra_body": {"temperature": 0, "ignore_eos": True},
}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"metric": {"type": "boolean"}, "days": {"enum": [1, 2]}},
        "required": ["metric", "days"],
        "additionalProperties": False,
    },
}
CALLING: dict[str, Any] = {"model": "tiny-chat", "max_tokens": 400, "messages": HELLO}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=server.token, max_retries=0) as client:
        yield client


def strictly(message: Any) -> Any:
    """The message, checked against the official types, which the client itself does not do."""
    return sdk.Message.model_validate(message.to_dict())


def test_a_message_has_the_shape_that_anthropic_describes(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**FIXED, system="Be short.", metadata={"user_id": "ann"})
    strictly(message)
    assert message.id.startswith("msg_")
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 8
    assert message._request_id is not None
    assert message._request_id.startswith("req_")
    assert [block.type for block in message.content] == ["text"]


def test_a_stream_tells_the_same_as_a_whole_message(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**FIXED)
    with client.messages.stream(**FIXED) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [
        block.to_dict() for block in whole.content
    ]
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"
    start = events[0].message.usage
    total = start.input_tokens + (start.cache_read_input_tokens or 0)
    usage = final.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == total
    assert usage.output_tokens == 8


def test_a_call_goes_out_and_its_result_comes_back(client: anthropic.Anthropic) -> None:
    first = client.messages.create(
        **CALLING, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}
    )
    strictly(first)
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    assert call.id.startswith("toolu_")
    assert set(call.input) == {"metric", "days"}
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(
        model="tiny-chat", max_tokens=8, messages=history, tools=[WEATHER]
    )
    strictly(second)
    assert second.usage.cache_read_input_tokens
    assert second.usage.input_tokens
    assert second.usage.cache_creation_input_tokens == 0
    # A mark moves what was computed to another count.
    history[-1] = {"role": "user", "content": [{**result, "cache_control": {"type": "ephemeral"}}]}
    marked = client.messages.create(
        model="tiny-chat", max_tokens=8, messages=history, tools=[WEATHER]
    )
    assert marked.usage.input_tokens == 0
    assert marked.usage.cache_creation_input_tokens


def test_what_an_agent_asks_for_by_default_is_taken(
    client: anthropic.Anthropic, server: RunningServer
) -> None:
    """Tools that Anthropic defines are left out and named; edits without effect cost nothing."""
    asked: dict[str, Any] = {
        **CALLING,
        "max_tokens": 8,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, WEATHER],
    }
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    raw = client.messages.with_raw_response.create(
        **asked, extra_body={"context_management": edits}
    )
    assert raw.headers["x-mlx-ignored-parameters"] == "tools[0]:web_search_20250305"
    message = raw.parse()
    assert message.to_dict()["context_management"] == {"applied_edits": []}
    trace = server.client.get(f"mlx/traces/{message.id}").json()
    assert [tool["function"]["name"] for tool in trace["tools"]] == ["get_weather"]
    assert trace["ignored"] == ["tools[0]:web_search_20250305"]


def test_old_results_of_tools_are_left_out_of_a_long_conversation(server: RunningServer) -> None:
    messages: list[Any] = []
    for number in range(3):
        use: Any = {"type": "tool_use", "id": f"t{number}", "name": "get_weather", "input": {}}
        result: Any = {
            "type": "tool_result",
            "tool_use_id": f"t{number}",
            "content": f"sunny {number} " * 10,
        }
        messages += [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": "It is sunny."},
        ]
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "tool_uses", "value": 2},
        "keep": {"type": "tool_uses", "value": 1},
    }
    asked: dict[str, Any] = {
        "model": "tiny-chat",
        "messages": [*messages, {"role": "user", "content": "Thanks."}],
        "tools": [WEATHER],
        "context_management": {"edits": [edit]},
    }
    count = server.client.post("v1/messages/count_tokens", json=asked).raise_for_status().json()
    saved = count["context_management"]["original_input_tokens"] - count["input_tokens"]
    assert saved > 50
    asked["max_tokens"] = 4
    text = server.client.post("v1/messages", json={**asked, "stream": True}).text
    [end] = [json.loads(line[6:]) for line in text.splitlines() if '"message_delta"' in line[:30]]
    whole = server.client.post("v1/messages", json=asked).json()
    assert end["context_management"] == whole["context_management"]
    [applied] = whole["context_management"]["applied_edits"]
    assert applied == {
        "type": "clear_tool_uses_20250919",
        "cleared_tool_uses": 2,
        "cleared_input_tokens": saved,
    }
    usage = whole["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == count["input_tokens"]


def test_a_streamed_call_is_told_in_parts(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        **CALLING,
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    ) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    [call] = [block for block in final.content if block.type == "tool_use"]
    assert json.loads("".join(parts)) == call.input


def test_thinking_is_apart_from_the_answer(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="tiny-chat",
        max_tokens=60,
        messages=HELLO,
        thinking={"type": "enabled", "budget_tokens": 10},
        extra_body={"temperature": 0},
    )
    strictly(message)
    kinds = [block.type for block in message.content]
    assert kinds[1:] in ([], ["text"]) if kinds[:1] == ["thinking"] else kinds == ["text"]


def test_the_clients_own_tool_loop_runs(client: anthropic.Anthropic) -> None:
    asked: list[bool] = []

    @anthropic.beta_tool
    def look(metric: bool) -> str:
        """Look at the sky."""
        asked.append(metric)
        return "sunny"

    runner = client.beta.messages.tool_runner(
        model="tiny-chat",
        max_tokens=400,
        messages=HELLO,  # type: ignore[arg-type]
        tools=[look],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        max_iterations=2,
    )
    reasons = [message.stop_reason for message in runner]
    assert reasons == ["tool_use", "tool_use"]
    assert asked


def test_parse_gives_a_pydantic_model(client: anthropic.Anthropic) -> None:
    class Answer(pydantic.BaseModel):
        right: bool

    message = client.messages.parse(**CALLING, output_format=Answer)
    assert isinstance(message.parsed_output, Answer)
    # As older clients ask for it.
    schema = {**Answer.model_json_schema(), "additionalProperties": False}
    format = {"output_format": {"type": "json_schema", "schema": schema}}
    text = client.messages.create(**CALLING, extra_body=format).content[0]
    assert text.type == "text"
    assert Answer.model_validate_json(text.text)


def test_a_stop_sequence_is_named(client: anthropic.Anthropic) -> None:
    said = client.messages.create(**FIXED).content[0]
    assert said.type == "text"
    stop = said.text.strip()[:1] or said.text[:1]
    message = client.messages.create(**FIXED, stop_sequences=[stop, "never this"])
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == stop


def test_tokens_are_counted_as_they_will_be_used(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": "tiny-chat",
        "messages": HELLO,
        "system": "Be short.",
        "tools": [WEATHER],
    }
    counted = client.messages.count_tokens(**asked)
    usage = client.messages.create(**asked, max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_the_asynchronous_client_streams(server: RunningServer) -> None:
    async def story() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=server.url, api_key=server.token) as client,
            client.messages.stream(**FIXED) as stream,
        ):
            return await stream.get_final_text()

    assert asyncio.run(story())


STRICT = {"name": "f", "input_schema": {"type": "object", "not": {}}, "strict": True}


@pytest.mark.parametrize(
    ("change", "status", "kind", "named"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        ({"messages": []}, 400, "invalid_request_error", "messages"),
        ({"temperature": 1.5}, 400, "invalid_request_error", "temperature"),
        ({"model": "nonesuch"}, 404, "not_found_error", "nonesuch"),
        ({"container": "c"}, 400, "invalid_request_error", "container"),
        ({"mcp_servers": [{}]}, 400, "invalid_request_error", "mcp_servers"),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            400,
            "invalid_request_error",
            "web_search_20250305",
        ),
        (
            {"context_management": {"edits": [{"type": "compact_20260112"}]}},
            400,
            "invalid_request_error",
            "context_management.edits[0]",
        ),
        ({"tools": [{"name": "f"}]}, 400, "invalid_request_error", "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tool_choice"),
        ({"tools": [STRICT]}, 400, "invalid_request_error", "cannot be enforced"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 8}},
            400,
            "invalid_request_error",
            "thinking.budget_tokens",
        ),
    ],
)
def test_errors_come_in_anthropics_words(
    server: RunningServer, change: dict[str, Any], status: int, kind: str, named: str
) -> None:
    body = {"messages": HELLO, "max_tokens": 8, **change}
    body = {name: value for name, value in body.items() if value is not None}
    response = server.client.post("v1/messages", json=body)
    assert response.status_code == status
    told = response.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == kind
    assert named in told["error"]["message"]
    assert told["request_id"] == response.headers["request-id"]


def test_every_error_on_these_routes_has_that_shape(
    server: RunningServer, client: anthropic.Anthropic
) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="x-api-key"):
        client.with_options(api_key="wrong").messages.create(**FIXED)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve("msgbatch_none")
    refused = server.client.get("v1/messages")
    assert refused.status_code == 405
    assert refused.json()["error"]["type"] == "invalid_request_error"
    malformed = server.client.post("v1/messages/count_tokens", content=b"{")
    assert malformed.json()["type"] == "error"
    long = [{"role": "user", "content": "word " * 200}]
    with pytest.raises(anthropic.BadRequestError, match="64"):
        client.messages.create(model="short", max_tokens=8, messages=long)  # type: ignore[arg-type]


def test_a_client_that_goes_away_ends_its_generation(server: RunningServer) -> None:
    body = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 3000, "ignore_eos": True}
    before = server.wait_until_idle()["totals"]["cancelled"]
    with server.client.stream("POST", "v1/messages", json={**body, "stream": True}) as response:
        next(response.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("v1/messages", json=body, timeout=0.5)
    assert server.wait_until_idle(15)["totals"]["cancelled"] == before + 2
