"""What is done for a request is spans and measurements, named by OpenTelemetry's conventions."""

import asyncio
import json
import sys
from typing import Any

import pytest
from opentelemetry import trace
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
from mlx_notebook.server.telemetry.audio_traces import AudioRecorder
from mlx_notebook.server.telemetry.reports import ReportedCall
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceStore

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
        self.reporter = open_telemetry.RequestReporter(
            tracers, meters, lambda: ("localhost", 1234), texts=texts
        )
        self.traces = TraceStore(limit=0)
        self.traces.reporter = self.reporter

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


def test_an_answer_is_a_span_of_the_conventions() -> None:
    reported = Reported()
    span = reported.run()
    assert span.name == "chat tiny-chat"
    assert span.kind is SpanKind.INTERNAL
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
    assert Reported().run("api/generate").name == "text_completion tiny-chat"


def test_a_transcript_and_a_speech_are_spans() -> None:
    heard = Reported(texts=True)
    origin = RequestOrigin("me", "v1/audio/transcriptions", trace_context=PARENT)
    command = protocol.Transcribe(id="transcript-1", model="ear", path="", audio=b"", max_seconds=9)
    recorder = AudioRecorder(command, origin, heard.traces)
    recorder.record(
        protocol.TranscriptSegment("transcript-1", 0, 0.0, 1.0, SECRET, [1, 2], 0.0, 0.0, 1.0, 0.0)
    )
    recorder.record(protocol.Transcribed("transcript-1", "english", 1.0, 2, 0.5))
    recorder.end(None)
    (span,) = heard.spans.get_finished_spans()
    attributes = span.attributes or {}
    assert span.name == "transcription ear"
    assert attributes["gen_ai.usage.output_tokens"] == 2
    assert SECRET in str(attributes["gen_ai.output.messages"])
    assert set(heard.metrics()) == {"gen_ai.server.request.duration"}

    spoken = Reported()
    origin = RequestOrigin("me", "v1/audio/speech", trace_context=PARENT)
    said = protocol.Speak(id="speech-1", model="mouth", path="", text=SECRET)
    AudioRecorder(said, origin, spoken.traces).end(EngineError(f"Cannot say {SECRET}."))
    (span,) = spoken.spans.get_finished_spans()
    assert span.name == "speech mouth"
    assert span.parent is not None
    assert (span.attributes or {})["gen_ai.output.type"] == "speech"
    assert (span.attributes or {})["error.type"] == "engine_error"
    assert SECRET not in span.to_json()


def test_a_tool_call_is_a_child_of_its_request() -> None:
    reported = Reported()
    request = reported.reporter.begin_request("POST", "v1/responses", PARENT, 1.0)
    call = ReportedCall("look_up", SECRET, "library", "mcp_1", SECRET)
    with reported.reporter.running(call, request.context) as made:
        inside = trace.get_current_span().get_span_context()
        made.result = SECRET
    request.end(200, "")
    tool, whole = reported.spans.get_finished_spans()
    assert (whole.name, whole.kind) == ("POST /v1/responses", SpanKind.SERVER)
    assert dict(whole.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/responses",
        "http.response.status_code": 200,
        "server.address": "localhost",
        "server.port": 1234,
    }
    assert (tool.name, tool.kind) == ("execute_tool look_up", SpanKind.INTERNAL)
    assert tool.parent == whole.context
    # An MCP server's own spans become its children.
    assert inside == tool.context
    assert dict(tool.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.type": "extension",
        "gen_ai.tool.call.id": "mcp_1",
        "mcp.method.name": "tools/call",
        "mlx_notebook.mcp.server_label": "library",
    }


def test_a_tool_call_that_fails_or_is_cancelled_is_an_error() -> None:
    reported = Reported(texts=True)
    call = ReportedCall("look_up", "", "library", "mcp_1", '{"of": "cats"}')
    with reported.reporter.running(call, PARENT) as made:
        made.error, made.message = "tool_error", "No such cat."
    cancelled = ReportedCall("look_up", "", "library", "mcp_2", "{}")
    with pytest.raises(asyncio.CancelledError), reported.reporter.running(cancelled, PARENT):
        raise asyncio.CancelledError
    first, second = reported.spans.get_finished_spans()
    assert (first.attributes or {})["error.type"] == "tool_error"
    assert (first.attributes or {})["gen_ai.tool.call.arguments"] == '{"of": "cats"}'
    assert (first.status.status_code, first.status.description) == (
        StatusCode.ERROR,
        "No such cat.",
    )
    assert (second.attributes or {})["error.type"] == "request_cancelled"


def test_only_a_fault_of_the_server_is_an_error_of_its_request() -> None:
    reported = Reported()
    reported.reporter.begin_request("POST", "v1/rerank", {}, 1.0).end(404, "model_not_found")
    reported.reporter.begin_request("POST", "v1/rerank", {}, 1.0).end(503, "engine_error")
    refused, failed = reported.spans.get_finished_spans()
    assert refused.status.status_code is StatusCode.UNSET
    assert failed.status.status_code is StatusCode.ERROR
    assert (refused.attributes or {})["error.type"] == "model_not_found"


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
