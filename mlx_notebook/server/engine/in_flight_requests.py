"""Keep the requests that the engine has not answered yet, and count its crashes by model."""

from collections.abc import Callable

from mlx_notebook.protocol import (
    Done,
    Embedded,
    Event,
    Heard,
    Heartbeat,
    Loaded,
    Prefill,
    Ready,
    Reranked,
    Reserve,
    Spoken,
    Stats,
    Transcribed,
)
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import Unavailable

# A model that crashes the engine this often, without an answer in between, is refused.
MAX_CRASHES = 3


class InFlightRequests:
    """Hold all requests and model commands from admission until their handler is done.

    Parameters
    ----------
    used
        Called with the user and the model of each request that starts, and of each model that is
        loaded. An urgent request does not count, since an editor chose its model. Nor does a
        patient one.
    """

    def __init__(self, used: Callable[[str, str], None] = lambda owner, model: None) -> None:
        self._used = used
        self._streams: dict[str, RequestStream] = {}
        self._crashes: dict[str, int] = {}
        self._peak = 0
        # The memory of jobs, by their ids, for an engine that was restarted.
        self.reservations: dict[str, Reserve] = {}

    @property
    def streams(self) -> list[RequestStream]:
        """All requests and model commands, oldest first."""
        return list(self._streams.values())

    @property
    def requests(self) -> list[RequestStream]:
        """Requests that generate or wait to generate, without model commands."""
        return [stream for stream in self.streams if stream.rows and not stream.ended]

    @property
    def without_rows(self) -> list[RequestStream]:
        """Requests that need a model but no row of its batch: tokenize, embed, rank, load."""
        return [
            stream for stream in self._streams.values() if stream.needs_model and not stream.rows
        ]

    def add(self, stream: RequestStream) -> None:
        """Add a request."""
        self._streams[stream.id] = stream
        self._peak = max(self._peak, len(self.requests))

    def take_peak(self) -> int:
        """Return the most requests at a time since the last call. Short ones count too."""
        now = len(self.requests)
        peak, self._peak = max(self._peak, now), now
        return peak

    def remove(self, stream: RequestStream) -> None:
        """Remove a request."""
        del self._streams[stream.id]

    def handle(self, event: Event) -> str | None:
        """Pass an event to its request. Return the request's id if the engine must cancel it."""
        if isinstance(event, Ready | Stats | Heartbeat):  # not about one request
            return None
        stream = self._streams.get(event.id)
        if stream is None:
            return None
        counts = not (stream.urgent or stream.patient)
        if isinstance(event, Prefill | Heard | Spoken | Loaded) and counts:
            self._used(stream.owner, stream.model)
        elif isinstance(event, Done | Embedded | Reranked | Transcribed | Spoken):
            self.forgive(stream.model)
        return None if stream.push(event) else stream.id

    def fail_request_of(self, event: Event) -> str | None:
        """Fail the request of an event that the server could not handle. Return its id, if any."""
        stream = (
            None if isinstance(event, Ready | Stats | Heartbeat) else self._streams.get(event.id)
        )
        if stream is None or stream.ended:
            return None
        stream.fail(Unavailable("The server failed on this response. Its log says why."))
        return stream.id

    def fail(self, message: str, *, waiting: bool = False) -> None:
        """Fail the requests that the engine was working on, or all if `waiting`."""
        for stream in self._streams.values():
            if stream.sent or waiting:
                stream.fail(Unavailable(message, headers={"Retry-After": "1"}))

    def keep_alive(self, interval: float) -> None:
        """Send a keep-alive to each request without an event for `interval` seconds."""
        for stream in self._streams.values():
            stream.keep_alive(interval)

    # --- models that crash the engine -------------------------------------------------------------

    def engine_ended(self, stats: Stats | None) -> None:
        """Count a crash of the engine against the models that it was loading or running.

        Parameters
        ----------
        stats
            The last statistics that the engine sent.
        """
        working = (stream for stream in self._streams.values() if _is_worked_on(stream, stats))
        for model in {stream.model for stream in working}:
            self._crashes[model] = self._crashes.get(model, 0) + 1

    def is_refused(self, model: str) -> bool:
        """Whether a model has crashed the engine too often to be tried again."""
        return self._crashes.get(model, 0) >= MAX_CRASHES

    def forgive(self, model: str) -> None:
        """Forget the crashes of a model, so that it can be tried again."""
        self._crashes.pop(model, None)


def _is_worked_on(stream: RequestStream, stats: Stats | None) -> bool:
    """Whether the engine was loading or computing for a request, and so may have crashed by it.

    A request that only waits does not count. One that the engine has not reported yet does.
    """
    if stream.ended or not stream.sent or not stream.needs_model:
        return False
    # Events tell that a request has started before the statistics do.
    if stats is None or stream.waits_for_model is False:
        return True
    phases = {request.id: request.phase for request in stats.requests}
    phase = phases.get(stream.id)
    if phase == "loading" or stream.model in stats.loading:
        if stats.progress is not None:
            return stats.progress.model == stream.model
        computing = any(each in ("prefill", "decode") for each in phases.values())
        return stream.model in stats.loading[:1] and not computing
    return phase != "queued"
