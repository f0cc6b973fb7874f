"""Say what is reported of a request, without OpenTelemetry's SDK: `open_telemetry` reports it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from mlx_notebook.server.wire.native.trace_types import Trace

TEXT_OPERATIONS = ("chat", "text_completion")
# What models do at the routes that are no chats.
_OPERATIONS = {
    "v1/completions": "text_completion",
    "api/generate": "text_completion",
    "mlx/completions/inline": "text_completion",
    "v1/audio/transcriptions": "transcription",
    "v1/audio/translations": "translation",
    "v1/audio/speech": "speech",
}
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


class ReportedOperation(Struct):
    """What a model did for a request.

    Attributes
    ----------
    name
        The convention's name of it, such as `chat`.
    id
        The id that the client got.
    began, seconds
        When it began, in Unix seconds, and how long it took.
    attributes
        What is reported of it that is no text.
    texts
        What is reported with the setting `opentelemetry_texts` only.
    error, message
        Code and text of the error that ended it; "" if none did.
    first_token
        Seconds to the first token, if it has written text.
    output_tokens
        How many tokens it has written.
    """

    name: str
    model: str
    id: str
    began: float
    seconds: float = 0.0
    attributes: dict[str, Any] = {}
    texts: dict[str, str] = {}
    error: str = ""
    message: str = ""
    first_token: float | None = None
    output_tokens: int = 0


class ReportedCall(Struct):
    """A call of a tool that this server makes itself.

    Attributes
    ----------
    name, description, server
        The tool, and the label of its MCP server.
    id
        Id of the call.
    arguments, result
        What went in and came out, as text.
    error, message
        Kind and text of the error; "" if the call succeeded.
    """

    name: str
    description: str
    server: str
    id: str
    arguments: str
    result: str = ""
    error: str = ""
    message: str = ""


class RequestSpan(Protocol):
    """The span of a request that runs.

    Attributes
    ----------
    context
        The headers of W3C's trace context by which other spans become its children.
    """

    context: Mapping[str, str]

    def end(self, status: int, error: str) -> None:
        """End it with the status of the answer, and the code of the error or ""."""


class Reporter(Protocol):
    """Reports requests, and what is done for them.

    Attributes
    ----------
    texts
        Whether texts are reported.
    """

    texts: bool

    def begin_request(
        self, method: str, route: str, headers: Mapping[str, str], began: float
    ) -> RequestSpan:
        """Begin the span of a request that came at a Unix time."""

    def report(self, operation: ReportedOperation, context: Mapping[str, str]) -> None:
        """Report an operation that has ended, as a child of the span of its request."""

    def running(
        self, call: ReportedCall, context: Mapping[str, str]
    ) -> AbstractContextManager[ReportedCall]:
        """Report a call that is made in the block, as a child of the span of its request."""


def operation_of(trace: Trace, *, texts: bool) -> ReportedOperation:
    """Return what is reported of a request whose trace has ended."""
    error = "request_cancelled" if trace.status == "cancelled" else ""
    name = _OPERATIONS.get(trace.endpoint, "chat")
    writes = name in TEXT_OPERATIONS and trace.timings is not None
    return ReportedOperation(
        name=name,
        model=trace.model,
        id=trace.id,
        began=trace.created,
        seconds=trace.seconds,
        attributes=_details(trace, name),
        texts=_texts(trace) if texts else {},
        error=trace.error.code if trace.error is not None else error,
        message=trace.error.message if trace.error is not None else "",
        first_token=trace.timings.first_token if writes and trace.timings else None,
        output_tokens=trace.usage.completion_tokens if trace.usage is not None else 0,
    )


def _details(trace: Trace, name: str) -> dict[str, Any]:
    """Return the attributes of an operation that are no texts."""
    found: dict[str, Any] = {}
    for option, attribute in _OPTIONS.items():
        if trace.options.get(option) is not None:
            found[f"gen_ai.request.{attribute}"] = trace.options[option]
    if name == "speech":
        found["gen_ai.output.type"] = "speech"
    elif "output_format" in trace.options:
        found["gen_ai.output.type"] = "json"
    reasons = [row.finish_reason for row in trace.rows if row.finish_reason is not None]
    if reasons:
        found["gen_ai.response.finish_reasons"] = reasons
    if trace.usage is not None:
        found |= {
            "gen_ai.usage.input_tokens": trace.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": trace.usage.completion_tokens,
        }
    if trace.usage is not None and name in TEXT_OPERATIONS:
        found |= {
            "gen_ai.usage.cache_read.input_tokens": trace.usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": trace.usage.reasoning_tokens,
        }
    return found


def _texts(trace: Trace) -> dict[str, str]:
    """Return the texts of a request, as JSON in the convention's shapes."""
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
