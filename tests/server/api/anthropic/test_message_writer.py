import json
from typing import Any

import anthropic.types as sdk
import msgspec
import pydantic
import pytest

from mlx_notebook import protocol
from mlx_notebook.server.api.anthropic.message_writer import MessageWriter
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.wire.anthropic.message_response import (
    MessageResponse,
    MessageUsage,
    encode_event,
)
from mlx_notebook.server.wire.sealed_reasoning import unseal

ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(sdk.RawMessageStreamEvent)
PREFILL = protocol.Prefill("r", 4, 10, 4)


def text(content: str) -> protocol.Text:
    return protocol.Text("r", 0, content, 1)


def thought(content: str) -> protocol.Reasoning:
    return protocol.Reasoning("r", 0, content, 1)


def call(index: int, name: str, *arguments: str) -> list[protocol.Event]:
    start = protocol.ToolCallStart("r", 0, index, f"call_{index}", name)
    return [start, *(protocol.ToolCallArguments("r", 0, index, part) for part in arguments)]


def ended(
    reason: protocol.FinishReason = "stop", stop: str | None = None, tokens: int = 5
) -> list[protocol.Event]:
    usage = protocol.Usage(10, tokens, 4, 2)
    done = protocol.Done("r", usage, protocol.Timings(0, 0, 0, 0, 0))
    return [protocol.Finished("r", 0, reason, stop), done]


def written(
    *events: protocol.Event | KeepAlive, hides_reasoning: bool = False
) -> tuple[list[Any], sdk.Message]:
    """The events that a client gets for the engine's, and the final message."""
    answer = MessageResponse(
        id="msg_1", model="tiny-chat", content=[], usage=MessageUsage(0, 0, 0, 0)
    )
    writer = MessageWriter(answer, max_tokens=5, hides_reasoning=hides_reasoning)
    told = []
    for event in events:
        for each in writer.handle(event):
            name, data, *rest = encode_event(each).decode().split("\n")
            assert rest == ["", ""]
            kind = json.loads(data.removeprefix("data: "))["type"]
            assert name == f"event: {kind}"
            if kind != "ping":
                told.append(ADAPTER.validate_json(data.removeprefix("data: ")))
    return told, sdk.Message.model_validate_json(msgspec.json.encode(answer))


def kinds(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("content_").removeprefix("message_") for event in events]


def test_a_text_is_told_in_order() -> None:
    events, message = written(PREFILL, KeepAlive(), text("Hel"), text("lo"), *ended())
    assert kinds(events) == [
        "start",
        "block_start",
        "block_delta",
        "block_delta",
        "block_stop",
        "delta",
        "stop",
    ]
    assert events[0].message.content == []
    assert events[0].message.usage.input_tokens == 6
    assert events[0].message.usage.cache_read_input_tokens == 4
    assert events[0].message.stop_reason is None
    assert events[5].delta.stop_reason == "end_turn"
    assert events[5].usage.output_tokens == 5
    assert message.content == [sdk.TextBlock(type="text", text="Hello")]
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 2


def test_thinking_text_and_calls_are_blocks_of_their_own() -> None:
    events, message = written(
        PREFILL,
        thought("Hm"),
        thought("m."),
        text("\n\n"),
        text("I look."),
        *call(0, "look", '{"a"', ": 1}"),
        text("\n"),
        *call(1, "other"),
        *ended("tool_calls"),
    )
    thinking, said, first, second = message.content
    assert thinking.type == "thinking"
    assert thinking.thinking == "Hmm."
    assert thinking.signature
    assert said.type == "text"
    assert first.type == second.type == "tool_use"
    assert (first.name, first.input, first.id) == ("look", {"a": 1}, "toolu_0")
    assert second.input == {}
    assert message.stop_reason == "tool_use"
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    parts = [delta.partial_json for delta in deltas if delta.type == "input_json_delta"]
    assert parts == ['{"a"', ": 1}"]
    assert [d.signature for d in deltas if d.type == "signature_delta"] == [thinking.signature]
    starts = [event for event in events if event.type == "content_block_start"]
    assert [event.index for event in starts] == [0, 1, 2, 3]
    assert starts[2].content_block.input == {}


def test_hidden_thinking_is_in_its_signature_only() -> None:
    events, message = written(PREFILL, thought("Hmm."), text("A"), *ended(), hides_reasoning=True)
    block = message.content[0]
    assert block.type == "thinking"
    assert block.thinking == ""
    assert unseal(block.signature) == "Hmm."
    assert "Hmm." not in str(events)


@pytest.mark.parametrize(
    ("reason", "stop", "tokens", "told"),
    [
        ("stop", None, 3, ("end_turn", None)),
        ("stop", "END", 3, ("stop_sequence", "END")),
        ("length", None, 5, ("max_tokens", None)),
        ("length", None, 3, ("model_context_window_exceeded", None)),
        ("tool_calls", None, 3, ("tool_use", None)),
    ],
)
def test_why_the_answer_ended_is_told(
    reason: protocol.FinishReason, stop: str | None, tokens: int, told: tuple[str, str | None]
) -> None:
    events, message = written(PREFILL, text("A"), *ended(reason, stop, tokens))
    assert (message.stop_reason, message.stop_sequence) == told
    assert (events[-2].delta.stop_reason, events[-2].delta.stop_sequence) == told


def test_a_call_that_was_cut_off_keeps_what_there_is() -> None:
    _, message = written(PREFILL, *call(0, "f", '{"a": 1, "b": "lon'), *ended("length"))
    assert message.content[0].type == "tool_use"
    assert message.content[0].input == {"a": 1, "b": "lon"}
    assert message.stop_reason == "max_tokens"


def test_an_answer_of_nothing_has_no_blocks() -> None:
    events, message = written(PREFILL, *ended())
    assert message.content == []
    assert kinds(events) == ["start", "delta", "stop"]
    _, blank = written(PREFILL, text(" "), *ended())
    assert blank.content == [sdk.TextBlock(type="text", text=" ")]
