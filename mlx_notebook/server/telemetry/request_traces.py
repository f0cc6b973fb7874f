"""Record each generation request: a trace for its user, and numbers for `/metrics`."""

import time
from collections import OrderedDict
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from mlx_notebook import protocol
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.telemetry.reports import Reporter, operation_of
from mlx_notebook.server.telemetry.traced_commands import traced_messages, traced_options
from mlx_notebook.server.telemetry.usage_ledger import UsageLedger
from mlx_notebook.server.wire.native import trace_types as wire

# Size of all traces together. The oldest of the user who has most are deleted first.
_MAX_BYTES = 32 * 1024 * 1024


class RequestOrigin(Struct, frozen=True):
    """Say who sent a request and how.

    Attributes
    ----------
    owner
        User who sent it (see `identity.owner`).
    endpoint
        Route that it came by.
    ignored
        Parameters of it that this server does not use.
    notices
        What of its documents and videos the model does not see.
    trace_context
        The headers by which what is reported of it becomes a child of the span of the request.
    """

    owner: str
    endpoint: str
    ignored: list[str] = []
    notices: list[str] = []
    trace_context: dict[str, str] = {}


class Recorder(Protocol):
    """Records the events of one request."""

    def record(self, event: protocol.Event) -> None:
        """Record an event."""

    def end(self, error: ApiError | None) -> None:
        """Record the end of the request, with the error if it failed or was cancelled."""

    def trace(self) -> wire.Trace:
        """Return the trace of the request so far."""


class TraceStore:
    """Keep the traces of the last requests, up to a number for each user and a total size.

    Parameters
    ----------
    limit
        Most traces of one user; 0 keeps none.

    Attributes
    ----------
    usage
        Counts the requests and their tokens by user, whether or not traces are kept.
    reporter
        Reports requests to OpenTelemetry, if that is on.
    """

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.reporter: Reporter | None = None
        self.usage = UsageLedger()
        self._kept: dict[str, OrderedDict[str, _Kept]] = {}
        self._running: dict[str, tuple[str, Recorder]] = {}
        # Bytes of each user's traces.
        self._bytes: dict[str, int] = {}

    def recorder(self, command: protocol.Generate, origin: RequestOrigin) -> "TraceRecorder":
        """Return a recorder for a new request.

        No trace is kept of urgent requests: an editor sends one at every key.
        """
        recorder = TraceRecorder(command, origin, self)
        if not command.urgent:
            self.begin(command.id, origin.owner, recorder)
        return recorder

    def begin(self, id: str, owner: str, recorder: "Recorder") -> None:
        """Show what a recorder has recorded so far, until the trace of its request is kept."""
        if self.limit:
            self._running[id] = (owner, recorder)

    def finish(self, trace: wire.Trace, origin: RequestOrigin) -> None:
        """Report a request that has ended, and store its trace."""
        if self.reporter is not None:
            operation = operation_of(trace, texts=self.reporter.texts)
            self.reporter.report(operation, origin.trace_context)
        self._keep(origin.owner, trace)

    def _keep(self, owner: str, trace: wire.Trace) -> None:
        if self._running.pop(trace.id, None) is None:
            return
        most = _MAX_BYTES // 4
        # Check the length first, since encoding long texts takes time.
        texts = (message.get("content") for message in trace.messages)
        too_long = sum(len(text) for text in texts if isinstance(text, str)) > most
        encoded = b"" if too_long else msgspec.json.encode(trace)
        if too_long or len(encoded) > most:
            trace.messages, trace.tools = [], []
            trace.prompt = None
            encoded = msgspec.json.encode(trace)
        own = self._kept.setdefault(owner, OrderedDict())
        own[trace.id] = _Kept(trace.summary(), encoded)
        self._bytes[owner] = self._bytes.get(owner, 0) + len(encoded)
        if len(own) > self.limit:
            self._drop_oldest(owner)
        while sum(self._bytes.values()) > _MAX_BYTES:
            # Of the user who has most, so that nobody loses a trace because of another.
            self._drop_oldest(max(self._bytes, key=self._bytes.__getitem__))

    def list(self, owner: str, search: str = "") -> list[wire.TraceSummary]:
        """Return the traces of a user, newest first: all, or those that contain a text."""
        # The text as it is encoded in JSON, without quotes.
        wanted = msgspec.json.encode(search)[1:-1].lower()
        running = [
            trace.summary()
            for trace in [rec.trace() for who, rec in self._running.values() if who == owner]
            if wanted in msgspec.json.encode(trace).lower()
        ]
        kept = [
            each.summary
            for each in self._kept.get(owner, {}).values()
            if not wanted or wanted in each.encoded.lower()
        ]
        return [*reversed(running), *reversed(kept)]

    def find(self, owner: str, id: str) -> bytes | None:
        """Return a trace of this user as JSON, None if there is none with this id."""
        if (running := self._running.get(id)) is not None:
            who, recorder = running
            return msgspec.json.encode(recorder.trace()) if who == owner else None
        kept = self._kept.get(owner, OrderedDict[str, _Kept]()).get(id)
        return kept.encoded if kept is not None else None

    def _drop_oldest(self, owner: str) -> None:
        own = self._kept[owner]
        _, dropped = own.popitem(last=False)
        self._bytes[owner] -= len(dropped.encoded)
        if not own:
            del self._kept[owner], self._bytes[owner]


class _Kept(NamedTuple):
    """Hold the trace of a request that has ended: what lists show, and all of it as JSON."""

    summary: wire.TraceSummary
    encoded: bytes


class TraceRecorder:
    """Record the events of one request.

    Parameters
    ----------
    command
        The request.
    origin
        Who sent it and how.
    traces
        Store for its trace.

    Attributes
    ----------
    upstream
        The upstream that answers it, None for the engine.
    """

    def __init__(
        self, command: protocol.Generate, origin: RequestOrigin, traces: TraceStore
    ) -> None:
        self._usage = traces.usage
        self._usage.begin(origin.owner)
        self._command = command
        self._origin = origin
        self._traces = traces
        self._created = time.time()
        self._began = time.monotonic()
        self._rows = [_Row() for _ in range(command.n)]
        self._traced: protocol.Traced | None = None
        self._done: protocol.Done | None = None
        self._error: wire.TracedError | None = None
        self._status: wire.TraceStatus = "running"
        self._seconds = 0.0
        self._tokens = 0
        self._started = False
        self.upstream: wire.TracedUpstream | None = None
        self._inter_token = metrics.INTER_TOKEN.labels(command.model)

    def record(self, event: protocol.Event) -> None:
        """Record an event."""
        match event:
            case protocol.Text() | protocol.Reasoning():
                row = self._rows[event.row]
                self._count(row, event.tokens)
                (row.content if isinstance(event, protocol.Text) else row.reasoning).append(
                    event.text
                )
            case protocol.ToolCallStart():
                self._start()
                self._rows[event.row].calls.append((event.call_id, event.name, []))
            case protocol.ToolCallArguments():
                self._rows[event.row].calls[event.index][2].append(event.arguments)
            case protocol.Finished():
                self._rows[event.row].finish_reason = event.reason
            case protocol.Traced():
                self._traced = event
            case protocol.Done():
                self._done = event

    def end(self, error: ApiError | None) -> None:
        """Record the end of the request, with the error if it failed or was cancelled."""
        self._seconds = time.monotonic() - self._began
        if self._done is not None:
            self._status = "finished"
        elif error is not None and error.code != "request_cancelled":
            self._status = "failed"
        else:
            self._status = "cancelled"
        if error is not None:
            self._error = wire.TracedError(error.message, error.code)
        self._count_all()
        trace = self.trace()
        self._traces.finish(trace, self._origin)

    def trace(self) -> wire.Trace:
        """Return the trace of the request so far."""
        command, prompt, traced, done = (
            self._command,
            self._command.prompt,
            self._traced,
            self._done,
        )
        chat = isinstance(prompt, protocol.ChatPrompt)
        rendered = traced.prompt if traced is not None else None
        return wire.Trace(
            id=command.id,
            endpoint=self._origin.endpoint,
            model=command.model,
            status=self._status,
            created=round(self._created, 3),
            seconds=round(self._seconds or time.monotonic() - self._began, 4),
            messages=traced_messages(prompt) if isinstance(prompt, protocol.ChatPrompt) else [],
            tools=prompt.tools if isinstance(prompt, protocol.ChatPrompt) else [],
            options=traced_options(command),
            ignored=self._origin.ignored,
            notices=self._origin.notices,
            prompt=rendered if chat else (rendered or getattr(prompt, "text", None)),
            rows=[
                row.trace(at, traced.rows[at] if traced and at < len(traced.rows) else None)
                for at, row in enumerate(self._rows)
            ],
            usage=_usage(done.usage) if done else None,
            timings=_timings(done.timings) if done else None,
            error=self._error,
            prefix=_prefix(traced.prefix) if traced and traced.prefix else None,
            upstream=self.upstream,
        )

    def _start(self) -> None:
        if not self._started:
            self._started = True
            waited = time.monotonic() - self._began
            metrics.TIME_TO_FIRST_TOKEN.labels(self._command.model).observe(waited)
            self._usage.first_token(self._origin.owner, waited)

    def _count(self, row: "_Row", tokens: int) -> None:
        self._start()
        self._tokens += tokens
        now = time.monotonic()
        if tokens and row.last:
            self._inter_token.observe((now - row.last) / tokens)
        if tokens:
            row.last = now

    def _count_all(self) -> None:
        model, owner = self._command.model, self._origin.owner
        metrics.DURATION.labels(model).observe(self._seconds)
        if self._done is None:
            metrics.GENERATED_TOKENS.labels(model).inc(self._tokens)
            self._usage.end(owner, self._status, 0, 0, self._tokens)
            return
        usage = self._done.usage
        self._usage.end(owner, self._status, usage.prompt, usage.cached, usage.completion)
        metrics.PROMPT_TOKENS.labels(model).inc(usage.prompt)
        metrics.CACHED_TOKENS.labels(model).inc(usage.cached)
        metrics.GENERATED_TOKENS.labels(model).inc(usage.completion)
        metrics.QUEUE.labels(model).observe(self._done.timings.queued)


class _Row:
    """Collect the output of one sequence."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, str, list[str]]] = []
        self.finish_reason: str | None = None
        self.last = 0.0

    def trace(self, index: int, traced: protocol.RowTrace | None) -> wire.TracedSequence:
        return wire.TracedSequence(
            index,
            "".join(self.content),
            "".join(self.reasoning),
            [wire.TracedCall(id, name, "".join(parts)) for id, name, parts in self.calls],
            raw=traced.raw if traced else None,
            problems=[
                wire.TracedProblem(problem.raw, problem.reason)
                for problem in (traced.problems if traced else [])
            ],
            finish_reason=self.finish_reason,
        )


def _usage(usage: protocol.Usage) -> wire.TracedUsage:
    return wire.TracedUsage(usage.prompt, usage.cached, usage.completion, usage.reasoning)


def _prefix(prefix: protocol.PrefixTrace) -> wire.TracedPrefix:
    return wire.TracedPrefix(prefix.cached, prefix.broke_at, prefix.message, prefix.was, prefix.now)


def _timings(timings: protocol.Timings) -> wire.TracedTimings:
    return wire.TracedTimings(
        *(round(getattr(timings, name), 5) for name in protocol.Timings.__struct_fields__)
    )
