"""Report each request to OpenTelemetry: a span and three metrics of its GenAI conventions.

Both are made from the trace of a request that has ended, so nothing here is in the way of tokens.
OpenTelemetry's SDK is imported only if the setting `opentelemetry` is on.

Source: https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai).
"""

import os
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from mlx_notebook import __version__
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.wire.native.trace_types import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

PROVIDER = "mlx_notebook"
_SCOPE = "mlx_notebook.server"
_CLOSE_SECONDS = 3.0
_OPERATIONS = {"v1/completions": "text_completion", "mlx/completions/inline": "text_completion"}
# The convention's names of the options of a request.
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "max_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "n": "choice.count",
}
_DURATIONS = [0.01 * 2**power for power in range(14)]
_FIRST_TOKEN = [
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
]
_PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]


class RequestReporter:
    """Report the requests that have ended.

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
        self._texts = texts
        self._parent = TraceContextTextMapPropagator()
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

    def report(self, trace: Trace, origin: RequestOrigin) -> None:
        """Report one request that has ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        host, port = self._address()
        common: dict[str, Any] = {
            "gen_ai.operation.name": _OPERATIONS.get(trace.endpoint, "chat"),
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": trace.model,
            "gen_ai.response.model": trace.model,
            "server.address": host,
            "server.port": port,
        }
        failed = _error_type(trace)
        if failed:
            common["error.type"] = failed
        attributes = {**common, **_details(trace)}
        if self._texts:
            attributes |= _texts(trace)
        began = int(trace.created * 1e9)
        span = self._tracer.start_span(
            f"{common['gen_ai.operation.name']} {trace.model}",
            context=self._parent.extract(dict(origin.trace_context)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=began,
        )
        if failed:
            message = trace.error.message if trace.error is not None and self._texts else None
            span.set_status(Status(StatusCode.ERROR, message))
        span.end(began + int(trace.seconds * 1e9))
        self._duration.record(trace.seconds, common)
        if not failed and trace.timings is not None and trace.usage is not None:
            first, tokens = trace.timings.first_token, trace.usage.completion_tokens
            self._first_token.record(first, common)
            if tokens > 1:
                rest = max(0.0, trace.seconds - first)
                self._per_token.record(rest / (tokens - 1), common)

    def close(self) -> None:
        """Send what is left, for three seconds at most, and end the exporters' threads."""
        ending = threading.Thread(target=self._shut_down, name="opentelemetry-end", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    def _shut_down(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


def _error_type(trace: Trace) -> str:
    """Return the kind of error that ended a request, or ""."""
    if trace.error is not None:
        return trace.error.code
    return "request_cancelled" if trace.status == "cancelled" else ""


def _details(trace: Trace) -> dict[str, Any]:
    """Return the attributes of a span that are no texts."""
    found: dict[str, Any] = {"gen_ai.response.id": trace.id}
    for name, attribute in _OPTIONS.items():
        if trace.options.get(name) is not None:
            found[f"gen_ai.request.{attribute}"] = trace.options[name]
    if "output_format" in trace.options:
        found["gen_ai.output.type"] = "json"
    reasons = [row.finish_reason for row in trace.rows if row.finish_reason is not None]
    if reasons:
        found["gen_ai.response.finish_reasons"] = reasons
    if trace.usage is not None:
        found |= {
            "gen_ai.usage.input_tokens": trace.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": trace.usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": trace.usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": trace.usage.reasoning_tokens,
        }
    return found


def _texts(trace: Trace) -> dict[str, str]:
    """Return the attributes of a span that are texts, as JSON in the convention's shapes."""
    prompt = [{"role": "user", "content": trace.prompt}] if trace.prompt else []
    said = trace.messages or prompt
    given = [
        {"role": message.get("role"), "parts": _parts(message.get("content"))} for message in said
    ]
    made = [
        {
            "role": "assistant",
            "parts": [
                *([{"type": "reasoning", "content": row.reasoning}] if row.reasoning else ()),
                *([{"type": "text", "content": row.content}] if row.content else ()),
                *(
                    {
                        "type": "tool_call",
                        "id": call.id,
                        "name": call.name,
                        "arguments": call.arguments,
                    }
                    for call in row.calls
                ),
            ],
            "finish_reason": row.finish_reason,
        }
        for row in trace.rows
    ]
    found = {
        "gen_ai.input.messages": msgspec.json.encode(given).decode(),
        "gen_ai.output.messages": msgspec.json.encode(made).decode(),
    }
    if trace.tools:
        found["gen_ai.tool.definitions"] = msgspec.json.encode(trace.tools).decode()
    return found


def _parts(content: object) -> list[object]:
    if isinstance(content, list):
        return [
            {"type": "text", "content": part.get("text", "")}
            if isinstance(part, Mapping) and part.get("type") == "text"
            else part
            for part in content
        ]
    return [{"type": "text", "content": content}] if content else []


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
