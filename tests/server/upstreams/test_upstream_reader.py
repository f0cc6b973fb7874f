"""What upstreams send becomes the events that the engine would send."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_notebook import protocol
from mlx_notebook.server.upstreams.upstream_reader import (
    AnswerReader,
    EventLines,
    ReportedError,
    UnreadableAnswer,
)
from tests.server.upstreams.stand_in import CALLS, GOOD, call, chunk

STREAM = (
    b": comment\r\n\r\nevent: message\r\ndata: one\r\n\r\ndata:two\ndata: more\n\n"
    b"id: 7\ndata: three\n\ndata: last"
)
EVENTS = [b"one", b"two\nmore", b"three", b"last"]


# How fast a busy machine is says nothing about the reader.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=8))
def test_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    lines, found, begin = EventLines(), [], 0
    for end in [*sorted(cuts), len(STREAM)]:
        found += lines.feed(STREAM[begin:end])
        begin = end
    assert [*found, *lines.end()] == EVENTS


def events(*chunks: dict[str, Any], rows: int = 1, **options: Any) -> list[protocol.Event]:
    options = {"with_logprobs": False, "stops": [], **options}
    reader = AnswerReader("id", rows, **options)
    found = [event for each in chunks for event in reader.read(json.dumps(each).encode())]
    return [*found, reader.done()]


def test_an_answer_has_reasoning_text_and_counts() -> None:
    reasoning, *texts, finished, done = events(*GOOD)
    assert reasoning == protocol.Reasoning("id", 0, "Hm.", 1)
    assert texts == [protocol.Text("id", 0, "Hello", 1), protocol.Text("id", 0, " there", 1)]
    assert finished == protocol.Finished("id", 0, "stop")
    assert isinstance(done, protocol.Done)
    assert done.usage == protocol.Usage(prompt=7, completion=3, cached=2, reasoning=1)


def test_without_counts_the_pieces_are_counted() -> None:
    done = events(*GOOD[:-1])[-1]
    assert isinstance(done, protocol.Done)
    assert done.usage == protocol.Usage(prompt=0, completion=3, cached=0, reasoning=1)


def calls_of(*chunks: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the id, the name and the arguments of each call."""
    found: list[tuple[str, str, str]] = []
    for event in events(*chunks):
        if isinstance(event, protocol.ToolCallStart):
            assert event.index == len(found)
            found.append((event.call_id, event.name, ""))
        elif isinstance(event, protocol.ToolCallArguments):
            id, name, arguments = found[event.index]
            found[event.index] = id, name, arguments + event.arguments
    return found


ADD = ("call_1", "add", '{"a": 1, "b": 2}')


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (CALLS, [ADD, ("call_2", "now", "{}")]),
        # All calls have the index 0, and each comes whole.
        (
            [
                chunk(call(0, '{"a": 1, "b": 2}', name="add", id="call_1")),
                chunk(call(0, "{}", name="now", id="call_2")),
                chunk({}, "tool_calls"),
            ],
            [ADD, ("call_2", "now", "{}")],
        ),
        # The name is repeated.
        (
            [
                chunk(call(0, '{"a": 1,', name="add", id="call_1")),
                chunk(call(0, ' "b": 2}', name="add", id="call_1")),
                chunk({}, "tool_calls"),
            ],
            [ADD],
        ),
    ],
    ids=["parallel", "one-index", "repeated-name"],
)
def test_calls_are_told_apart(
    chunks: list[dict[str, Any]], expected: list[tuple[str, str, str]]
) -> None:
    assert calls_of(*chunks) == expected


def test_arguments_as_an_object_become_text() -> None:
    function = {"name": "add", "arguments": {"a": 1}}
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    ((id, name, arguments),) = calls_of(whole)
    assert id.startswith("call_")
    assert (name, arguments) == ("add", '{"a":1}')


def test_a_stop_text_is_named_if_it_was_asked_for() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["stop_reason"] = "END"
    assert events(last, stops=["END"])[0] == protocol.Finished("id", 0, "stop", "END")
    assert events(last)[0] == protocol.Finished("id", 0, "stop", None)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([{"choices": "none"}], "not an answer"),
        ([["a"]], "not an answer"),
        ([chunk({"content": ["a"]})], "not an answer"),
        ([{"choices": [{"index": 1, "delta": {"content": "a"}}]}], "not asked for"),
        ([{"choices": [{"index": -1, "delta": {"content": "a"}}]}], "not asked for"),
        ([chunk({"content": "a"})], "in the middle"),
        ([chunk(call(0, "{}"))], "without a name"),
        ([*CALLS[:4], chunk(call(0, "{}"))], "out of order"),
        ([chunk({}, "bored")], "unknown reason: 'bored'"),
    ],
)
def test_what_is_no_answer_is_refused(chunks: list[Any], said: str) -> None:
    with pytest.raises(UnreadableAnswer, match=said):
        events(*chunks)


@pytest.mark.parametrize("logprobs", [{"content": 1}, {"tokens": ["a"], "token_logprobs": []}])
def test_log_probabilities_that_are_none_are_refused(logprobs: Any) -> None:
    each = chunk({"content": "a"})
    each["choices"][0]["logprobs"] = logprobs
    with pytest.raises(UnreadableAnswer, match="log probabilities"):
        events(each, with_logprobs=True)


def test_an_error_in_the_middle_is_an_error() -> None:
    with pytest.raises(ReportedError) as caught:
        events(GOOD[0], {"error": "overloaded"})
    assert caught.value.error == "overloaded"


def test_megabytes_without_an_event_is_refused() -> None:
    lines, piece = EventLines(), b"data: " + b"x" * 65536 + b"\n"
    with pytest.raises(UnreadableAnswer, match="more than 8,388,608 bytes"):
        list(itertools.chain.from_iterable(lines.feed(piece) for _ in range(200)))
