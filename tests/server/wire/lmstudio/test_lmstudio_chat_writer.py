from typing import Any

import msgspec
import pytest

from mlx_notebook import protocol
from mlx_notebook.server.errors import InvalidRequest, NotFound, Unavailable
from mlx_notebook.server.mcp.mcp_session import ListedTool
from mlx_notebook.server.responses.mcp_writer import McpFunction, McpWriter
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import (
    LmStudioError,
    LmStudioProvider,
    speed,
)
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_writer import LmStudioChatWriter
from mlx_notebook.server.wire.responses.response_object import Response
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest

DONE = protocol.Done("x", protocol.Usage(12, 5, 0, 2), protocol.Timings(0.5, 1.5, 0.25, 2.0, 0.5))
TEXT: list[Any] = [
    protocol.Loading("x", "m", 0.0),
    protocol.Prefill("x", 0, 10, 0),
    protocol.Prefill("x", 10, 10, 0),
    protocol.Reasoning("x", 0, "Hm", 1),
    protocol.Text("x", 0, "Hi", 1),
    protocol.Text("x", 0, "!", 1),
    protocol.Finished("x", 0, "stop"),
    DONE,
]
CALL: list[Any] = [
    protocol.Prefill("x", 10, 10, 0),
    protocol.ToolCallStart("x", 0, 0, "call_1", "add"),
    protocol.ToolCallArguments("x", 0, 0, '{"a": 1}'),
    protocol.Finished("x", 0, "tool_calls"),
    DONE,
]
PROVIDER = {"type": "ephemeral_mcp", "server_label": "small"}


class Written:
    """An answer: the server's writer, and that of this API, which follows it."""

    def __init__(self, *, store: bool = True) -> None:
        request = ResponsesRequest(input="Hi", model="m")
        chosen = {"temperature": 1.0, "top_p": 1.0}
        self.response = Response.to(request, "resp_1", "m", 1, chosen=chosen, store=store)
        self.own = McpWriter(self.response, as_summary=False, sealed=False)
        tool = ListedTool("add", "Adds.", {"type": "object"}, {})
        self.own.functions = {"add": McpFunction("small", "", tool, needs_approval=False)}
        self.own.begin_round()
        provider = LmStudioProvider("ephemeral_mcp", server_label="small")
        self.writer = LmStudioChatWriter("m", {"small": provider}, lambda: 0.5)

    def events(self, batch: list[Any]) -> list[dict[str, Any]]:
        said = []
        for event in batch:
            self.writer.see(event)
            said += self.own.handle(event)
        return self.shown(said)

    def shown(self, said: list[Any]) -> list[dict[str, Any]]:
        return [_decoded(event.encoded()) for event in self.writer.events(said)]


def _decoded(data: bytes) -> dict[str, Any]:
    head, body = data.decode().removesuffix("\n\n").split("\n")
    event: dict[str, Any] = msgspec.json.decode(body.removeprefix("data: "))
    assert head == f"event: {event['type']}"
    return event


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_stream_begins_with_its_start_and_ends_with_the_whole_answer(size: int) -> None:
    written = Written()
    events = []
    for at in range(0, len(TEXT), size):
        events += written.events(TEXT[at : at + size])
    assert [event["type"] for event in events] == [
        "chat.start",
        "model_load.start",
        "model_load.progress",
        "model_load.end",
        "prompt_processing.start",
        "prompt_processing.progress",
        "prompt_processing.progress",
        "prompt_processing.end",
        "reasoning.start",
        "reasoning.delta",
        "reasoning.end",
        "message.start",
        "message.delta",
        "message.delta",
        "message.end",
        "chat.end",
    ]
    assert [event["progress"] for event in events if "progress" in event] == [0.5, 0.0, 1.0]
    assert "".join(e["content"] for e in events if e["type"] == "message.delta") == "Hi!"
    assert events[-1]["result"] == {
        "model_instance_id": "m",
        "output": [
            {"type": "reasoning", "content": "Hm"},
            {"type": "message", "content": "Hi!"},
        ],
        "stats": {
            "input_tokens": 12,
            "total_output_tokens": 5,
            "reasoning_output_tokens": 2,
            "tokens_per_second": 10.0,
            "time_to_first_token_seconds": 2.0,
            "model_load_time_seconds": 1.5,
        },
        "response_id": "resp_1",
    }


def test_calls_of_mcp_tools_are_shown_and_their_generations_count_together() -> None:
    written = Written(store=False)
    first = written.events(CALL)
    ((index, item),) = written.own.calls
    first += written.shown(written.own.end_call(index, item, "3", None))
    assert [event["type"] for event in first[-3:]] == [
        "tool_call.start",
        "tool_call.arguments",
        "tool_call.success",
    ]
    assert first[-1] == {
        "type": "tool_call.success",
        "tool": "add",
        "arguments": {"a": 1},
        "output": "3",
        "provider_info": PROVIDER,
    }
    written.own.begin_round()
    result = written.events(TEXT[1:])[-1]["result"]
    assert [item["type"] for item in result["output"]] == ["tool_call", "reasoning", "message"]
    assert result["stats"]["input_tokens"] == 24
    assert "response_id" not in result


def test_a_call_that_fails_says_why() -> None:
    written = Written()
    written.events(CALL)
    ((index, item),) = written.own.calls
    failed = written.shown(written.own.end_call(index, item, None, "No such number."))[-1]
    assert (failed["type"], failed["reason"]) == ("tool_call.failure", "No such number.")
    assert failed["metadata"]["tool_name"] == "add"
    assert failed["metadata"]["provider_info"] == PROVIDER


def test_a_stream_that_fails_ends_with_the_error_and_what_there_was() -> None:
    written = Written()
    written.events(TEXT[:5])
    error = Unavailable("The engine has stopped.")
    written.own.fail(error)
    told, last = (
        _decoded(event.encoded()) for event in written.writer.failed(error, written.response)
    )
    assert (told["type"], told["error"]["type"]) == ("error", "internal_error")
    assert last["type"] == "chat.end"
    assert last["result"]["output"][-1] == {"type": "message", "content": "Hi"}
    assert "response_id" not in last["result"]


def test_errors_have_lm_studios_types() -> None:
    def kind(error: Any) -> str:
        return LmStudioError.of(error).type

    assert kind(InvalidRequest("x")) == "invalid_request"
    assert kind(NotFound("x", code="unknown_route")) == "not_implemented"
    assert kind(NotFound("x", code="model_not_found")) == "model_not_found"
    assert kind(NotFound("x", code="job_not_found")) == "job_not_found"
    assert kind(Unavailable("x", code="mcp_not_reached")) == "mcp_connection_error"
    assert kind(Unavailable("x")) == "internal_error"


def test_no_measured_time_is_no_speed() -> None:
    assert speed(5, 0.0) == 0.0
