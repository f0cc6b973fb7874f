"""A collector gets the spans of each kind of request, as children of their request."""

import json
import queue
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server.running import HELLO, RunningServer, running
from tests.server.upstreams.stand_in import StandIn, stand_in

MCP_SERVER = str(Path(__file__).parents[1] / "mcp" / "small_server.py")
CHAT: dict[str, Any] = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 4}


class Span(NamedTuple):
    name: str
    id: str
    parent: str
    trace: str
    attributes: dict[str, Any]
    is_error: bool


class Collector:
    """A receiver of OTLP over HTTP, and the spans and names of metrics that it has got."""

    def __init__(self) -> None:
        self._got: queue.Queue[Any] = queue.Queue()
        self.url = ""
        self.spans: list[Span] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()

    def take(self, message: Any) -> None:
        self._got.put(message)

    def named(self, trace: str, *names: str) -> list[Span]:
        """Return spans of a trace with these names, in this order, once they have come."""
        while True:
            own = [span for span in self.spans if span.trace == trace]
            found = [next((one for one in own if one.name == name), None) for name in names]
            if all(found):
                return [one for one in found if one is not None]
            self._read()

    def _read(self) -> None:
        message = self._got.get(timeout=120)
        if isinstance(message, ExportMetricsServiceRequest):
            self.metrics |= {
                metric.name
                for resource in message.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
            return
        for resource in message.resource_spans:
            named = {each.key: each.value for each in resource.resource.attributes}
            self.services.add(named["service.name"].string_value)
            self.spans += [read(span) for scope in resource.scope_spans for span in scope.spans]

    def wait_for_metrics(self) -> None:
        while not self.metrics:
            self._read()


def read(span: Any) -> Span:
    values = {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }
    return Span(
        span.name,
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_id.hex(),
        values,
        span.status.code == span.status.STATUS_CODE_ERROR,
    )


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    kinds = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(kinds[self.path].FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def odd() -> Iterator[StandIn]:
    with stand_in() as server:
        yield server


@pytest.fixture(scope="module")
def server(collector: Collector, odd: StandIn, models_dir: Path) -> Iterator[RunningServer]:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "class-of-fifty",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    settings = {
        "opentelemetry": True,
        "models_dirs": [str(models_dir)],
        "mcp_servers": {"small": {"command": [sys.executable, MCP_SERVER]}},
        "upstreams": {"odd": {"url": odd.url}},
    }
    with running(config={"MlxNotebookApp": settings}, env=env) as server:
        yield server


def post(server: RunningServer, number: int, route: str, body: dict[str, Any]) -> tuple[str, Any]:
    """Send a request in a trace of its own. Return the trace, and the answer."""
    trace = f"{number:032x}"
    headers = {"traceparent": f"00-{trace}-{'b7' * 8}-01"}
    return trace, server.client.post(route, json=body, headers=headers)


def test_a_chat_is_a_request_and_what_the_model_did(
    server: RunningServer, collector: Collector
) -> None:
    trace, answer = post(server, 1, "v1/chat/completions", CHAT)
    request, chat = collector.named(trace, "POST /v1/chat/completions", "chat tiny-chat")
    assert request.parent == "b7" * 8
    assert chat.parent == request.id
    usage = answer.json()["usage"]
    assert chat.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert chat.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert chat.attributes["gen_ai.response.id"] == answer.json()["id"]
    assert request.attributes["server.port"] == server.port
    assert request.attributes["http.response.status_code"] == 200
    assert "Hello" not in str((request, chat))
    assert collector.services == {"class-of-fifty"}
    collector.wait_for_metrics()
    assert "gen_ai.server.request.duration" in collector.metrics


def test_embeddings_and_scores_are_children_of_their_request(
    server: RunningServer, collector: Collector
) -> None:
    body = {"model": "words", "input": ["a cat"]}
    trace, answer = post(server, 2, "v1/embeddings", body)
    request, made = collector.named(trace, "POST /v1/embeddings", "embeddings words")
    assert made.parent == request.id
    tokens = answer.json()["usage"]["prompt_tokens"]
    assert made.attributes["gen_ai.usage.input_tokens"] == tokens
    vector = answer.json()["data"][0]["embedding"]
    assert made.attributes["gen_ai.embeddings.dimension.count"] == len(vector)

    body = {"model": "ranker", "query": "a cat", "documents": ["a dog"]}
    trace, answer = post(server, 3, "v1/rerank", body)
    request, made = collector.named(trace, "POST /v1/rerank", "rerank ranker")
    assert made.parent == request.id
    assert made.attributes["gen_ai.response.id"] == answer.json()["id"]


def test_an_error_is_named(server: RunningServer, collector: Collector) -> None:
    trace, answer = post(server, 4, "v1/embeddings", {"model": "words", "input": "a cat " * 99})
    assert answer.status_code == 400
    request, made = collector.named(trace, "POST /v1/embeddings", "embeddings words")
    assert made.attributes["error.type"] == "context_length_exceeded"
    assert made.is_error
    assert request.attributes["error.type"] == "context_length_exceeded"
    assert not request.is_error

    trace, _ = post(server, 5, "v1/chat/completions", {**CHAT, "model": "nonesuch"})
    (request,) = collector.named(trace, "POST /v1/chat/completions")
    assert request.attributes["error.type"] == "model_not_found"


def test_a_tool_call_stands_between_two_answers(
    server: RunningServer, collector: Collector
) -> None:
    small = {"type": "mcp", "server_label": "small", "require_approval": "never"}
    choice = {"type": "mcp", "server_label": "small", "name": "fail"}
    body = {"model": "tiny-chat", "input": "Go.", "tools": [small], "tool_choice": choice}
    trace, answer = post(server, 6, "v1/responses", {**body, "max_output_tokens": 40})
    assert "no luck" in answer.text
    request, tool = collector.named(trace, "POST /v1/responses", "execute_tool fail")
    assert tool.parent == request.id
    assert tool.attributes["error.type"] == "tool_error"
    assert tool.attributes["mlx_notebook.mcp.server_label"] == "small"
    assert tool.is_error
    chats = [one for one in collector.spans if one.trace == trace and one.name[:5] == "chat "]
    assert len(chats) >= 1
    assert {one.parent for one in chats} == {request.id}
    assert "no luck" not in str(tool)


def test_the_lines_of_a_batch_belong_to_the_request_for_it(
    server: RunningServer, collector: Collector
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token) as client:
        content = json.dumps(line).encode()
        file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    trace, _ = post(server, 7, "v1/batches", body)
    batch, line_span, chat = collector.named(
        trace, "POST /v1/batches", "POST /v1/chat/completions", "chat tiny-chat"
    )
    assert batch.parent == "b7" * 8
    assert line_span.parent == batch.id
    assert chat.parent == line_span.id


def test_an_upstream_continues_the_trace(
    server: RunningServer, collector: Collector, odd: StandIn
) -> None:
    for number, route, body in (
        (8, "v1/chat/completions", {**CHAT, "model": "odd:good"}),
        (9, "v1/embeddings", {"model": "odd:good", "input": "a cat"}),
    ):
        trace, answer = post(server, number, route, body)
        assert answer.status_code == 200, answer.text
        (request,) = collector.named(trace, f"POST /{route}")
        _, headers, _ = odd.requests[-1]
        assert headers["traceparent"] == f"00-{trace}-{request.id}-01"
