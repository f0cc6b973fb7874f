"""Report each request to OpenTelemetry: spans and three metrics of its GenAI conventions.

A request is a span, and what models and tools do for it are its children. Spans of models are made
when their work has ended, so nothing here is in the way of tokens.
OpenTelemetry's SDK is imported only if the setting `opentelemetry` is on.

Source: https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai).
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from mlx_notebook import __version__
from mlx_notebook.server.telemetry.reports import ReportedCall, ReportedOperation

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

PROVIDER = "mlx_notebook"
_SCOPE = "mlx_notebook.server"
_CLOSE_SECONDS = 3.0
# From this status on the server is at fault.
_SERVER_ERROR = 500
_DURATIONS = [0.01 * 2**power for power in range(14)]
_FIRST_TOKEN = [
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
]
_PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]


class ReportedRequest:
    """The span of a request, from its arrival to the end of its answer.

    Parameters
    ----------
    span
        The SDK's span.
    context
        The headers by which other spans become its children.
    """

    def __init__(self, span: "Span", context: Mapping[str, str]) -> None:
        self._span = span
        self.context = context

    def end(self, status: int, error: str) -> None:
        """End it with the status of the answer, and the code of the error or ""."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("http.response.status_code", status)
        if error:
            self._span.set_attribute("error.type", error)
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class RequestReporter:
    """Report requests, and what is done for them (see `reports.Reporter`).

    Parameters
    ----------
    tracers, meters
        The SDK's providers. They own exporters, which have threads of their own.
    address
        Returns the server's address and port.
    texts
        Whether spans hold the texts of requests and answers.
    """

    def __init__(
        self,
        tracers: "TracerProvider",
        meters: "MeterProvider",
        address: Callable[[], tuple[str, int]],
        *,
        texts: bool = False,
    ) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracers, self._meters = tracers, meters
        self._address = address
        self.texts = texts
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = tracers.get_tracer(_SCOPE, __version__)
        meter = meters.get_meter(_SCOPE, __version__)
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration",
            unit="s",
            description="Time from a request to the end of its answer.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._first_token = meter.create_histogram(
            "gen_ai.server.time_to_first_token",
            unit="s",
            description="Time to the first token of a request that succeeded.",
            explicit_bucket_boundaries_advisory=_FIRST_TOKEN,
        )
        self._per_token = meter.create_histogram(
            "gen_ai.server.time_per_output_token",
            unit="s",
            description="Time for each token after the first, of a request that succeeded.",
            explicit_bucket_boundaries_advisory=_PER_TOKEN,
        )

    def begin_request(
        self, method: str, route: str, headers: Mapping[str, str], began: float
    ) -> ReportedRequest:
        """Begin the span of a request that came at a Unix time.

        Its parent is the client's span, if the headers name one.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        host, port = self._address()
        span = self._tracer.start_span(
            f"{method} /{route}",
            context=self._parent(headers),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": f"/{route}",
                "server.address": host,
                "server.port": port,
            },
            start_time=int(began * 1e9),
        )
        context: dict[str, str] = {}
        self._propagator.inject(context, set_span_in_context(span))
        return ReportedRequest(span, context)

    def report(self, operation: ReportedOperation, context: Mapping[str, str]) -> None:
        """Report an operation that has ended, as a child of the span of its request."""
        from opentelemetry.trace import SpanKind

        host, port = self._address()
        common: dict[str, Any] = {
            "gen_ai.operation.name": operation.name,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": operation.model,
            "gen_ai.response.model": operation.model,
            "server.address": host,
            "server.port": port,
        }
        if operation.error:
            common["error.type"] = operation.error
        attributes = {**common, "gen_ai.response.id": operation.id, **operation.attributes}
        if self.texts:
            attributes |= operation.texts
        began = int(operation.began * 1e9)
        span = self._tracer.start_span(
            f"{operation.name} {operation.model}",
            context=self._request(context),
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=began,
        )
        self._set_error(span, operation.error, operation.message)
        span.end(began + int(operation.seconds * 1e9))
        self._duration.record(operation.seconds, common)
        if not operation.error and operation.first_token is not None:
            self._first_token.record(operation.first_token, common)
            if operation.output_tokens > 1:
                rest = max(0.0, operation.seconds - operation.first_token)
                self._per_token.record(rest / (operation.output_tokens - 1), common)

    @contextmanager
    def running(self, call: ReportedCall, context: Mapping[str, str]) -> Iterator[ReportedCall]:
        """Report a call that is made in the block, as a child of the span of its request.

        The tool's MCP server gets the span as the parent of its own.
        """
        from opentelemetry.trace import SpanKind, use_span

        span = self._tracer.start_span(
            f"execute_tool {call.name}",
            context=self._request(context),
            kind=SpanKind.INTERNAL,
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call.name,
                "gen_ai.tool.type": "extension",
                "gen_ai.tool.call.id": call.id,
                "mcp.method.name": "tools/call",
                "mlx_notebook.mcp.server_label": call.server,
            },
        )
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield call
        except BaseException:
            call.error = call.error or "request_cancelled"
            raise
        finally:
            if call.error:
                span.set_attribute("error.type", call.error)
                self._set_error(span, call.error, call.message)
            if self.texts:
                span.set_attribute("gen_ai.tool.description", call.description)
                span.set_attribute("gen_ai.tool.call.arguments", call.arguments)
                span.set_attribute("gen_ai.tool.call.result", call.result)
            span.end()

    def _parent(self, headers: Mapping[str, str]) -> "Context":
        from opentelemetry.context import Context

        # Not a span of the code around, which belongs to another request.
        return self._propagator.extract(headers, context=Context())

    def _request(self, headers: Mapping[str, str]) -> "Context":
        from opentelemetry import trace

        found = trace.get_current_span(self._parent(headers)).get_span_context()
        local = trace.SpanContext(
            found.trace_id, found.span_id, False, found.trace_flags, found.trace_state
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(local))

    def _set_error(self, span: "Span", error: str, message: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        if error:
            span.set_status(Status(StatusCode.ERROR, message if message and self.texts else None))

    def close(self) -> None:
        """Send what is left, for three seconds at most, and end the exporters' threads."""
        ending = threading.Thread(target=self._shut_down, name="opentelemetry-end", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    def _shut_down(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


def start_reporting(address: Callable[[], tuple[str, int]], *, texts: bool) -> RequestReporter:
    """Return a reporter that exports as OpenTelemetry's environment variables say.

    Raises
    ------
    ValueError
        If a variable names an exporter that is not installed.
    """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # It has OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes.get("service.name")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "mlx-notebook"}))
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = _exporter("traces")
    if exporter is not None:
        tracers.add_span_processor(BatchSpanProcessor(exporter))
    measured = _exporter("metrics")
    readers = [] if measured is None else [PeriodicExportingMetricReader(measured)]
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    return RequestReporter(tracers, meters, address, texts=texts)


def _exporter(signal: str) -> Any:
    """Return the exporter for "traces" or "metrics" that the environment names; None for none."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    name = os.environ.get(variable, "").strip() or "otlp"
    if name == "none":
        return None
    if name == "otlp":
        protocol = os.environ.get(
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL",
            os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        )
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = [*entry_points(group=f"opentelemetry_{signal}_exporter", name=name)]
    if not found:
        raise ValueError(
            f"OpenTelemetry's exporter {name!r} for {signal} is not installed. Install its package "
            f"or set {variable}."
        )
    return found[0].load()()
