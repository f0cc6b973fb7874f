"""Record each request for a transcript or speech: a trace, and numbers for `/metrics`."""

import time
from typing import Any

from mlx_notebook import protocol
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.telemetry.request_traces import RequestOrigin, TraceStore
from mlx_notebook.server.wire.native import trace_types as wire


class AudioRecorder:
    """Record the events of one transcription, or of one speech.

    Parameters
    ----------
    command, origin
        The request, who sent it and how.
    traces
        Store for its trace.
    """

    def __init__(
        self,
        command: protocol.Transcribe | protocol.Speak,
        origin: RequestOrigin,
        traces: TraceStore,
    ) -> None:
        self._usage = traces.usage
        self._usage.begin(origin.owner)
        self._command, self._origin, self._traces = command, origin, traces
        self._created, self._began = time.time(), time.monotonic()
        self._texts: list[str] = []
        self._heard: protocol.Heard | None = None
        self._heard_at = self._seconds = 0.0
        self._done: protocol.Transcribed | protocol.Spoken | None = None
        self._bytes = 0
        self._status: wire.TraceStatus = "running"
        self._error: wire.TracedError | None = None

    def record(self, event: protocol.Event) -> None:
        """Record an event."""
        match event:
            case protocol.Heard():
                self._heard_at = self._heard_at or time.monotonic()
                self._heard = event
            case protocol.TranscriptSegment():
                if not self._texts:
                    self._first()
                self._texts.append(event.text)
            case protocol.SpeechAudio():
                if not self._bytes:
                    self._first()
                self._bytes += len(event.data)
            case protocol.Transcribed() | protocol.Spoken():
                self._done = event

    def _first(self) -> None:
        """Record the first output."""
        waited = time.monotonic() - self._began
        metrics.TIME_TO_FIRST_TOKEN.labels(self._command.model).observe(waited)
        self._usage.first_token(self._origin.owner, waited)
        self._heard_at = self._heard_at or time.monotonic()

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
        model, tokens = self._command.model, self._done.tokens if self._done else 0
        metrics.DURATION.labels(model).observe(self._seconds)
        metrics.PROMPT_TOKENS.labels(model).inc(self._prompt_tokens)
        metrics.GENERATED_TOKENS.labels(model).inc(tokens)
        self._usage.end(self._origin.owner, self._status, self._prompt_tokens, 0, tokens)
        self._traces.finish(self.trace(), self._origin)

    @property
    def _prompt_tokens(self) -> int:
        return self._done.prompt if isinstance(self._done, protocol.Spoken) else 0

    def trace(self) -> wire.Trace:
        """Return the trace of the request so far."""
        done, now = self._done, time.monotonic()
        waited = (self._heard_at or now) - self._began
        return wire.Trace(
            id=self._command.id,
            endpoint=self._origin.endpoint,
            model=self._command.model,
            status=self._status,
            created=round(self._created, 3),
            seconds=round(self._seconds or now - self._began, 4),
            messages=[],
            tools=[],
            options=self._options(),
            ignored=self._origin.ignored,
            prompt=(
                self._command.text
                if isinstance(self._command, protocol.Speak)
                else self._command.context or None
            ),
            rows=[
                wire.TracedSequence(
                    0, "".join(self._texts).strip(), "", [], finish_reason="stop" if done else None
                )
            ],
            usage=wire.TracedUsage(self._prompt_tokens, 0, done.tokens, 0) if done else None,
            timings=(
                wire.TracedTimings(round(waited, 5), 0.0, 0.0, round(waited, 5), done.working)
                if done
                else None
            ),
            error=self._error,
        )

    def _options(self) -> dict[str, Any]:
        """Return what the request asks for, and what is known of its sound."""
        command = self._command
        if isinstance(command, protocol.Speak):
            return self._speech_options(command)
        options: dict[str, Any] = {
            "task": "translate" if command.translate else "transcribe",
            "audio_bytes": len(command.audio),
        }
        if self._heard is not None:
            options["audio_seconds"] = round(self._heard.total, 3)
        if isinstance(self._done, protocol.Transcribed):
            options["spoken_language"] = self._done.language
        given = {
            "language": command.language,
            "temperature": command.temperature,
            "words": command.words,
        }
        return options | {name: value for name, value in given.items() if value}

    def _speech_options(self, command: protocol.Speak) -> dict[str, Any]:
        options: dict[str, Any] = {"format": command.format, "audio_bytes": self._bytes}
        if self._done is not None:
            options["audio_seconds"] = round(self._done.seconds, 3)
        if command.voice is not None:
            options["voice"] = command.voice
        if command.speed != 1:
            options["speed"] = command.speed
        return options
