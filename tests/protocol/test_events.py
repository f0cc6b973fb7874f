"""Events travel as arrays, and each is told by its tag."""

import msgspec
import pytest

from mlx_notebook import protocol

EVENTS: list[protocol.Event] = [
    protocol.Ready(1, "cpu", {"mlx": "1"}),
    protocol.Loading("1", "m", 0.5),
    protocol.Prefill("1", 2, 4, 1),
    protocol.Text("1", 0, "hi", 1, [protocol.TokenLogprob("hi", -0.1, [104], [("ho", -1.0, [1])])]),
    protocol.Reasoning("1", 0, "hm", 1),
    protocol.ToolCallStart("1", 0, 0, "c", "f"),
    protocol.ToolCallArguments("1", 0, 0, "{}"),
    protocol.Finished("1", 0, "stop", "\n"),
    protocol.PromptLogprobs("1", [None], [[1]], [1]),
    protocol.PromptTokenIds("1", [1]),
    protocol.TokenIds("1", 0, [1]),
    protocol.Traced(
        "1",
        "p",
        [protocol.RowTrace("raw", [protocol.ParseProblem("x", "why")])],
        protocol.PrefixTrace(1, 2, None, "a", "b"),
    ),
    protocol.Tokenized("1", "t", [1], ["t"]),
    protocol.Embedded("1", [b"1234"], 3),
    protocol.Reranked("1", [0.5, -3.0], 9, [(1, 7, 5)]),
    protocol.Done("1", protocol.Usage(1, 2, 0, 0), protocol.Timings(0.0, 0.0, 0.0, 0.0, 0.0)),
    protocol.Failed("1", "invalid_request", "No.", "n"),
    protocol.Unloaded("1", "m", 5),
    protocol.Pinned("1", "m", True),
    protocol.Heartbeat("step", 1.5),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_decoded_as_it_was_sent(event: protocol.Event) -> None:
    sent = msgspec.msgpack.encode(protocol.Frame([event]))
    assert msgspec.msgpack.decode(sent, type=protocol.Frame) == protocol.Frame([event])
    assert isinstance(msgspec.to_builtins(event), list | tuple)


def test_a_step_of_32_sequences_is_a_few_kilobytes() -> None:
    events = [protocol.Text(f"{number:032x}", 0, " word", 1) for number in range(32)]
    assert len(msgspec.msgpack.encode(protocol.Frame([*events]))) < 4000
