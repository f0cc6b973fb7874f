import time
from typing import Any

import msgspec

from mlx_notebook import protocol
from mlx_notebook.server.wire.ollama.ollama_responses import moment
from mlx_notebook.server.wire.ollama.ollama_writer import OllamaChatWriter, OllamaGenerateWriter

DONE = protocol.Done("x", protocol.Usage(12, 5, 0, 2), protocol.Timings(0.5, 1.5, 0.25, 2.0, 0.125))
LOGPROB = protocol.TokenLogprob("Hi", -0.5, [72, 105], [("Hi", -0.5, [72, 105])])
ANSWER: list[Any] = [
    protocol.Prefill("x", 1, 1, 0),
    protocol.Reasoning("x", 0, "Hm", 1),
    protocol.Reasoning("x", 0, ".", 1),
    protocol.Text("x", 0, "Hi", 1, [LOGPROB]),
    protocol.Text("x", 0, "", 1),
    protocol.ToolCallStart("x", 0, 0, "call_1", "add"),
    protocol.ToolCallArguments("x", 0, 0, '{"a": 1'),
    protocol.ToolCallArguments("x", 0, 0, "}"),
    protocol.ToolCallStart("x", 0, 1, "call_2", "now"),
    protocol.Finished("x", 0, "tool_calls"),
    DONE,
]


def written(writer: Any, events: list[Any]) -> list[Any]:
    parts = [part for event in events for part in writer.parts(event)]
    return [msgspec.json.decode(msgspec.json.encode(part)) for part in parts]


def test_a_stream_has_a_part_for_each_text_and_each_whole_call() -> None:
    parts = written(OllamaChatWriter("m", time.monotonic()), ANSWER)
    messages = [part["message"] for part in parts]
    assert [message.get("thinking") for message in messages[:2]] == ["Hm", "."]
    assert messages[2] == {"role": "assistant", "content": "Hi"}
    calls = [message["tool_calls"][0] for message in messages[3:5]]
    assert calls[0] == {
        "id": "call_1",
        "function": {"index": 0, "name": "add", "arguments": {"a": 1}},
    }
    assert calls[1]["function"] == {"index": 1, "name": "now", "arguments": {}}
    assert [part["done"] for part in parts] == [False] * 5 + [True]
    assert {part["model"] for part in parts} == {"m"}


def test_the_last_part_has_counts_and_nanoseconds() -> None:
    last = written(OllamaChatWriter("m", time.monotonic() - 3), ANSWER)[-1]
    assert last["done_reason"] == "stop"
    assert (last["prompt_eval_count"], last["eval_count"]) == (12, 5)
    assert last["load_duration"] == 1_500_000_000
    assert last["prompt_eval_duration"] == 250_000_000
    assert last["eval_duration"] == 125_000_000
    assert last["total_duration"] >= 3_000_000_000


def test_a_whole_answer_joins_the_parts() -> None:
    writer = OllamaChatWriter("m", time.monotonic())
    parts = [part for event in ANSWER for part in writer.parts(event)]
    whole = msgspec.json.decode(msgspec.json.encode(writer.joined(parts)))
    assert whole["message"]["content"] == "Hi"
    assert whole["message"]["thinking"] == "Hm."
    assert [call["id"] for call in whole["message"]["tool_calls"]] == ["call_1", "call_2"]
    assert whole["logprobs"][0]["top_logprobs"][0]["logprob"] == -0.5
    assert whole["done"]


def test_generate_has_a_text_in_place_of_a_message() -> None:
    writer = OllamaGenerateWriter("m", time.monotonic())
    parts = [part for event in ANSWER[:5] for part in writer.parts(event)]
    parts += writer.parts(protocol.Finished("x", 0, "length"))
    parts += writer.parts(DONE)
    whole = msgspec.json.decode(msgspec.json.encode(writer.joined(parts)))
    assert (whole["response"], whole["thinking"]) == ("Hi", "Hm.")
    assert whole["done_reason"] == "length"
    assert "message" not in whole


def test_a_call_that_was_cut_keeps_the_arguments_that_are_complete() -> None:
    events = [
        protocol.ToolCallStart("x", 0, 0, "call_1", "add"),
        protocol.ToolCallArguments("x", 0, 0, '{"a": 1, "b": '),
        protocol.Finished("x", 0, "length"),
    ]
    [part] = written(OllamaChatWriter("m", time.monotonic()), events)
    assert part["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_times_are_in_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment().endswith("Z")
