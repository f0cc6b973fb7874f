"""Server-sent events are stored short and come back to the byte."""

import json

import pytest

from mlx_notebook.notebook.recording.recorded_events import pack, unpack


def chunk(text, **extra):
    data = {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}], **extra}
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


STREAMS = {
    "chat": [chunk("a"), chunk("é"), chunk("c"), chunk("", usage={"n": 1}), "data: [DONE]\n\n"],
    "named events": ['event: x\ndata: {"type":"x","n":1}\n\n', 'event: y\ndata: {"type":"y"}\n\n'],
    "like, and not the same": ['data: {"n":1}\n\n', 'data: {"n":1.0}\n\n', 'data: {"n":true}\n\n'],
    "spaces in JSON": ['data: {"n": 1}\n\n', 'data: {"n":2}\n\n', ": keep alive\n\n"],
    "broken off": ['data: {"n":1}\n\n', 'data: {"n":'],
    "two lines of data": ["data: 1\ndata: 2\n\n"],
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_comes_back_to_the_byte_however_it_was_cut(name, size):
    text = "".join(STREAMS[name])
    pieces = [(i * 0.001, text[i : i + size]) for i in range(0, len(text), size)]
    events = pack(pieces)
    assert "".join(part for _, part in unpack(json.loads(json.dumps(events)))) == text
    times = [event["t"] for event in events]
    assert times == sorted(times)


def test_what_an_event_repeats_is_not_kept_again():
    first, second, *_ = pack((0.0, part) for part in STREAMS["chat"])
    assert first["data"]["id"] == "c1"
    assert second["then"] == {"choices": [{"index": 0, "delta": {"content": "é"}}]}
