"""Each request is a span and three measurements, in the GenAI conventions of OpenTelemetry."""

import json
import queue
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from traitlets import TraitError

from mlx_notebook import protocol
from mlx_notebook.server.app import MlxNotebookApp
from mlx_notebook.server.errors import EngineError
from mlx_notebook.server.telemetry import open_telemetry
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceStore
from tests.server.running import HELLO, running

SECRET = "the words of a user"
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Reported:
    """A store of traces that reports to the SDK's exporters in memory."""

    def __init__(self, *, texts: bool = False) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        reporter = open_telemetry.RequestReporter(
            tracers, meters, lambda: ("localhost", 1234), texts=texts
        )
        self.traces = TraceStore(limit=0)
        self.traces.report = reporter.report

    def run(
        self,
        endpoint: str = "v1/chat/completions",
        error: EngineError | None = None,
        *,
        cancelled: bool = False,
    ) -> ReadableSpan:
        command = protocol.Generate(
            id="chatcmpl-1",
            model="tiny-chat",
            path="",
            prompt=protocol.ChatPrompt(
                messages=[{"role": "user", "content": SECRET}], tools=[{"type": "function"}]
            ),
            sampling=protocol.Sampling(temperature=0.5, max_tokens=20, stop=(SECRET,)),
        )
        recorder = self.traces.recorder(
            command, RequestOrigin("me", endpoint, trace_context=PARENT)
        )
        recorder.record(protocol.Text("chatcmpl-1", 0, SECRET, 3))
        if error is None and not cancelled:
            recorder.record(protocol.Finished("chatcmpl-1", 0, "stop"))
            usage = protocol.Usage(prompt=11, cached=4, completion=3, reasoning=1)
            timings = protocol.Timings(0.0, 0.0, 0.0, 0.0, 0.0)
            recorder.record(protocol.Done("chatcmpl-1", usage, timings))
        recorder.end(error)
        (span,) = self.spans.get_finished_spans()
        return span

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric.data.data_points[0]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def test_a_request_is_a_span_of_the_conventions() -> None:
    reported = Reported()
    span = reported.run()
    assert span.name == "chat tiny-chat"
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.span_id:x}" == "b7ad6b7169203331"
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mlx_notebook",
        "gen_ai.request.model": "tiny-chat",
        "gen_ai.response.model": "tiny-chat",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 20,
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "server.address": "localhost",
        "server.port": 1234,
    }
    assert SECRET not in span.to_json()
    measured = reported.metrics()
    assert set(measured) == {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }
    point = measured["gen_ai.server.request.duration"]
    assert point.count == 1
    assert dict(point.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mlx_notebook",
        "gen_ai.request.model": "tiny-chat",
        "gen_ai.response.model": "tiny-chat",
        "server.address": "localhost",
        "server.port": 1234,
    }
    assert point.explicit_bounds[:3] == (0.01, 0.02, 0.04)


def test_the_operation_follows_the_route() -> None:
    assert Reported().run("v1/completions").name == "text_completion tiny-chat"
    assert Reported().run("v1/messages").name == "chat tiny-chat"


def test_a_request_that_fails_is_an_error_without_its_text() -> None:
    reported = Reported()
    span = reported.run(error=EngineError(f"Something about {SECRET}."))
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "engine_error"
    assert SECRET not in span.to_json()
    measured = reported.metrics()
    assert set(measured) == {"gen_ai.server.request.duration"}
    assert measured["gen_ai.server.request.duration"].attributes["error.type"] == "engine_error"


def test_a_request_that_is_cancelled_says_so() -> None:
    span = Reported().run(cancelled=True)
    assert (span.attributes or {})["error.type"] == "request_cancelled"


def test_texts_are_in_spans_only_with_their_setting() -> None:
    attributes = dict(Reported(texts=True).run().attributes or {})
    assert json.loads(str(attributes["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
    ]
    assert json.loads(str(attributes["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": SECRET}],
            "finish_reason": "stop",
        }
    ]
    assert json.loads(str(attributes["gen_ai.tool.definitions"])) == [{"type": "function"}]


def test_without_the_sdk_the_setting_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MlxNotebookApp(opentelemetry=True).opentelemetry
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(TraitError, match=r"pip install 'mlx-notebook\[opentelemetry\]'"):
        MlxNotebookApp(opentelemetry=True)


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "smoke_signals")
    with pytest.raises(
        ValueError, match=r"'smoke_signals' for traces is not installed.*OTEL_TRACES"
    ):
        open_telemetry.start_reporting(lambda: ("localhost", 1), texts=False)


@pytest.fixture
def collector() -> Iterator[tuple[str, "queue.Queue[Any]"]]:
    """A receiver of OTLP over HTTP: its URL, and the messages that it got."""
    got: queue.Queue[Any] = queue.Queue()
    kinds = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.put(kinds[self.path].FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_reports_to_a_collector(collector: tuple[str, "queue.Queue[Any]"]) -> None:
    url, got = collector
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_SERVICE_NAME": "class-of-fifty",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    with running(config={"MlxNotebookApp": {"opentelemetry": True}}, env=env) as server:
        request = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 4}
        answer = server.client.post("v1/chat/completions", json=request, headers=PARENT)
        answer.raise_for_status()
        request = {"model": "tiny-chat", "input": "Hello!", "max_output_tokens": 4}
        server.client.post("v1/responses", json=request, headers=PARENT).raise_for_status()
        spans: list[Any] = []
        metrics: set[str] = set()
        while len(spans) < 2 or not metrics:
            message = got.get(timeout=120)
            if isinstance(message, ExportTraceServiceRequest):
                (resource,) = message.resource_spans
                spans += [span for scope in resource.scope_spans for span in scope.spans]
                named = {each.key: each.value for each in resource.resource.attributes}
                assert named["service.name"].string_value == "class-of-fifty"
            else:
                metrics |= {
                    metric.name
                    for resource in message.resource_metrics
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                }
    for span in spans:
        assert span.name == "chat tiny-chat"
        assert span.parent_span_id.hex() == "b7ad6b7169203331"
    span = spans[0]
    attributes = {each.key: each.value for each in span.attributes}
    usage = answer.json()["usage"]
    assert attributes["gen_ai.usage.input_tokens"].int_value == usage["prompt_tokens"]
    assert attributes["gen_ai.usage.output_tokens"].int_value == usage["completion_tokens"]
    assert attributes["server.port"].int_value == server.port
    assert "Hello" not in str(span)
    assert "gen_ai.server.request.duration" in metrics
