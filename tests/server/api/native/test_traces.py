"""What the last requests leave behind."""

import contextlib
import json
import threading
from typing import Any

import httpx
import msgspec
import pytest

from mlx_notebook import protocol
from mlx_notebook.server.errors import EngineError
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceStore
from mlx_notebook.server.wire.content import CheckedImage
from tests.server.running import HELLO, RunningServer, wait_for

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Bergen"]}},
            "required": ["city"],
        },
    },
}


def test_a_trace_tells_all_about_a_request(server: RunningServer) -> None:
    answer = server.chat(
        model="tiny-chat",
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=300,
        temperature=0,
    ).json()
    trace = server.client.get(f"mlx/traces/{answer['id']}").raise_for_status().json()
    assert trace["endpoint"] == "v1/chat/completions"
    assert trace["model"] == "tiny-chat"
    assert trace["status"] == "finished"
    assert trace["messages"] == HELLO
    assert trace["tools"][0]["function"]["name"] == "weather"
    assert trace["options"]["tool_choice"]["mode"] == "required"
    assert trace["options"]["max_tokens"] == 300
    assert "Hello!" in trace["prompt"]
    [row] = trace["rows"]
    assert row["finish_reason"] == "tool_calls"
    [call] = row["calls"]
    assert call["name"] == "weather"
    assert json.loads(call["arguments"])["city"] in ("Oslo", "Bergen")
    assert "weather" in row["raw"]
    assert row["content"] == ""
    usage = answer["usage"]
    assert trace["usage"]["prompt_tokens"] == usage["prompt_tokens"]
    assert trace["usage"]["completion_tokens"] == usage["completion_tokens"]
    timings = trace["timings"]
    assert timings["first_token"] >= timings["prefill"] > 0
    assert timings["decode"] > 0
    assert trace["seconds"] > 0
    assert trace["error"] is None


def test_the_list_has_the_newest_first(server: RunningServer) -> None:
    first = server.chat().json()["id"]
    body = {"prompt": "Once", "max_tokens": 2, "n": 2}
    second = server.client.post("v1/completions", json=body).json()["id"]
    listed = server.client.get("mlx/traces").raise_for_status().json()["data"]
    assert [trace["id"] for trace in listed[:2]] == [second, first]
    assert [trace["endpoint"] for trace in listed[:2]] == ["v1/completions", "v1/chat/completions"]
    trace = server.client.get(f"mlx/traces/{second}").json()
    assert trace["prompt"] == "Once"
    assert trace["messages"] == []
    assert len(trace["rows"]) == 2


def test_a_request_is_seen_while_it_runs_and_after_its_client_left(server: RunningServer) -> None:
    body = {"messages": HELLO, "max_tokens": 3000, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", "v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        id = response.headers["x-request-id"]
        running = server.client.get(f"mlx/traces/{id}").json()
        assert running["status"] == "running"
        assert server.client.get("mlx/traces").json()["data"][0]["status"] == "running"

    def ended() -> Any:
        trace = server.client.get(f"mlx/traces/{id}").json()
        return trace if trace["status"] != "running" else None

    trace = wait_for(ended, 10)
    assert trace["status"] == "cancelled"
    assert trace["rows"][0]["content"]
    assert trace["usage"] is None


def test_a_refused_and_a_stopped_request_say_why(server: RunningServer) -> None:
    server.chat(model="short", messages=[{"role": "user", "content": "word " * 200}])
    refused = server.client.get("mlx/traces").json()["data"][0]
    assert refused["status"] == "failed"
    assert refused["error"]["code"] == "context_length_exceeded"

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            server.chat(model="tiny-chat", max_tokens=3000, ignore_eos=True)

    thread = threading.Thread(target=ask)
    thread.start()
    id = wait_for(lambda: [r["id"] for r in server.status()["requests"]], 10)[0]
    assert server.client.post(f"mlx/cancel/{id}").json()["cancelled"]
    thread.join(10)
    stopped = server.client.get(f"mlx/traces/{id}").json()
    assert stopped["status"] == "cancelled"
    assert stopped["error"]["code"] == "request_cancelled"


def test_traces_are_found_by_anything_in_them(server: RunningServer) -> None:
    said = 'The word is "søk\n\\here", I say'
    id = server.chat(messages=[{"role": "user", "content": said}]).json()["id"]

    def found(text: str) -> list[Any]:
        answer = server.client.get("mlx/traces", params={"search": text}).raise_for_status()
        return [trace for trace in answer.json()["data"] if trace["id"] == id]

    [trace] = found('"SøK')
    assert trace["title"] == 'The word is "søk \\here", I say'
    assert trace["first_token"] > 0
    assert found("I say")
    assert found("\n\\here")
    assert found(id)
    assert not found("no such words")


def test_an_unknown_trace_is_told(server: RunningServer) -> None:
    response = server.client.get("mlx/traces/nonesuch")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "trace_not_found"


# --- the ring itself ----------------------------------------------------------------------------


def command(id: str, content: str = "Hi", n: int = 1) -> protocol.Generate:
    prompt = protocol.ChatPrompt(messages=[{"role": "user", "content": content}])
    return protocol.Generate(id=id, model="m", path="/m", prompt=prompt, n=n)


def test_each_user_has_a_ring_of_their_own() -> None:
    traces = TraceStore(2)
    for owner in ("ann", "bob"):
        for number in range(4):
            traces.recorder(command(f"{owner}{number}"), RequestOrigin(owner, "x")).end(None)
    assert [trace.id for trace in traces.list("ann")] == ["ann3", "ann2"]
    assert [trace.id for trace in traces.list("bob")] == ["bob3", "bob2"]
    assert traces.find("ann", "bob3") is None
    assert traces.find("ann", "ann3") is not None
    running = traces.recorder(command("r"), RequestOrigin("ann", "x"))
    assert traces.find("bob", "r") is None
    assert [trace.id for trace in traces.list("bob")] == ["bob3", "bob2"]
    running.end(None)


def test_large_traces_push_the_oldest_out_and_huge_ones_keep_what_was_answered() -> None:
    traces = TraceStore(100)
    for number in range(10):
        recorder = traces.recorder(command(str(number), "x" * 6_000_000), RequestOrigin("ann", "x"))
        recorder.end(None)
    assert [trace.id for trace in traces.list("ann")] == ["9", "8", "7", "6", "5"]
    traces.recorder(command("huge", "x" * 9_000_000), RequestOrigin("ann", "x")).end(None)
    found = traces.find("ann", "huge")
    assert found is not None
    assert msgspec.json.decode(found)["messages"] == []


def test_a_user_with_many_large_traces_pushes_out_their_own() -> None:
    traces = TraceStore(100)
    traces.recorder(command("of bob", "x" * 1_000_000), RequestOrigin("bob", "x")).end(None)
    for number in range(10):
        ann = traces.recorder(command(str(number), "x" * 6_000_000), RequestOrigin("ann", "x"))
        ann.end(None)
    assert [trace.id for trace in traces.list("bob")] == ["of bob"]
    assert [trace.id for trace in traces.list("ann")] == ["9", "8", "7", "6", "5"]


def test_a_picture_is_told_in_a_few_words() -> None:
    picture = CheckedImage(
        data=bytes(5_000_000),
        where="messages[0].content[0].image_url",
        media_type="image/png",
        width=2000,
        height=800,
        digest="d1",
    )
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    prompt = protocol.ChatPrompt(
        messages=[{"role": "user", "content": content}, {"role": "user", "content": "?"}],
        images=[picture],
    )
    traces = TraceStore()
    order = protocol.Generate(id="1", model="m", path="/m", prompt=prompt)
    recorder = traces.recorder(order, RequestOrigin("ann", "x"))
    for trace in (traces.find("ann", "1"), recorder.end(None) or traces.find("ann", "1")):
        assert trace is not None
        assert len(trace) < 2000
        first, second = msgspec.json.decode(trace)["messages"]
        assert first["content"][0] == {
            "type": "image",
            "detail": "auto",
            "bytes": 5_000_000,
            "media_type": "image/png",
            "sha256": "d1",
            "width": 2000,
            "height": 800,
        }
        assert first["content"][1] == content[1]
        assert second["content"] == "?"


def test_no_trace_is_kept_where_none_is_wanted() -> None:
    traces = TraceStore(0)
    traces.recorder(command("1"), RequestOrigin("ann", "x")).end(None)
    assert traces.list("ann") == []


def test_calls_and_what_was_no_call_are_told_apart() -> None:
    traces = TraceStore()
    recorder = traces.recorder(command("1", n=2), RequestOrigin("ann", "x"))
    events: list[protocol.Event] = [
        protocol.Reasoning("1", 0, "hm", 2),
        protocol.ToolCallStart("1", 0, 0, "call_1", "f"),
        protocol.ToolCallArguments("1", 0, 0, '{"a":'),
        protocol.ToolCallArguments("1", 0, 0, " 1}"),
        protocol.Text("1", 1, "<tool_call>oops", 3),
        protocol.Finished("1", 0, "tool_calls"),
        protocol.Finished("1", 1, "stop"),
        protocol.Traced(
            "1",
            "rendered",
            [
                protocol.RowTrace("raw 0", []),
                protocol.RowTrace("raw 1", [protocol.ParseProblem("<tool_call>oops", "not JSON")]),
            ],
            protocol.PrefixTrace(640, 702, 3, "10:01", "10:02"),
        ),
        protocol.Done("1", protocol.Usage(5, 9, 2, 2), protocol.Timings(0.1, 0.2, 0.3, 0.6, 0.4)),
    ]
    for event in events:
        recorder.record(event)
    recorder.end(None)
    found = traces.find("ann", "1")
    assert found is not None
    trace = msgspec.json.decode(found)
    assert trace["prompt"] == "rendered"
    assert trace["rows"][0]["calls"] == [{"id": "call_1", "name": "f", "arguments": '{"a": 1}'}]
    assert trace["rows"][0]["reasoning"] == "hm"
    assert trace["rows"][1]["problems"] == [{"raw": "<tool_call>oops", "reason": "not JSON"}]
    assert trace["prefix"] == {
        "cached": 640,
        "broke_at": 702,
        "message": 3,
        "was": "10:01",
        "now": "10:02",
    }
    [summary] = traces.list("ann")
    assert (summary.calls, summary.problems) == (["f"], 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "cancelled"), (EngineError("It broke."), "failed")],
)
def test_a_request_without_an_end_of_its_own_was_cancelled_or_failed(
    error: EngineError | None, status: str
) -> None:
    traces = TraceStore()
    traces.recorder(command("1"), RequestOrigin("ann", "x")).end(error)
    assert traces.list("ann")[0].status == status
