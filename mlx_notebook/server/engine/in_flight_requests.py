"""What is in flight to the engine."""

from collections.abc import Callable

from mlx_notebook.protocol import Done, Embedded, Event, Heartbeat, Loaded, Prefill, Ready, Stats
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import Unavailable

# A model with which the engine ended so often, with no answer in between, is not tried again.
MOST_KILLS = 3


class InFlightRequests:
    """All requests and orders, each from its admission to its handler's leaving, oldest first.

    Args:
        used: Told of each model that takes a request or is loaded.
    """

    def __init__(self, used: Callable[[str], None] = lambda model: None) -> None:
        self._used = used
        self._streams: dict[str, RequestStream] = {}
        self._kills: dict[str, int] = {}

    @property
    def streams(self) -> list[RequestStream]:
        """All that is in flight."""
        return list(self._streams.values())

    @property
    def requests(self) -> list[RequestStream]:
        """Those that generate, or wait to, and have not ended: no orders about models."""
        return [stream for stream in self.streams if stream.rows and not stream.ended]

    @property
    def without_rows(self) -> int:
        """How many need a model and no row of its batch: texts to tokenize or embed, and loads."""
        return sum(stream.needs_model and not stream.rows for stream in self._streams.values())

    def enter(self, stream: RequestStream) -> None:
        """Take one in."""
        self._streams[stream.id] = stream

    def leave(self, stream: RequestStream) -> None:
        """Let one go."""
        del self._streams[stream.id]

    def take(self, event: Event) -> str | None:
        """Hand an event to its request; returns the request's id where that is to be cancelled."""
        if isinstance(event, Ready | Stats | Heartbeat):  # nobody's in particular
            return None
        stream = self._streams.get(event.id)
        if stream is None:
            return None
        if isinstance(event, Prefill | Loaded):
            self._used(stream.model)
        elif isinstance(event, Done | Embedded):
            self.forgive(stream.model)
        return None if stream.push(event) else stream.id

    def give_up(self, event: Event) -> str | None:
        """End the request of an event that the server failed on; returns its id, if it has one."""
        stream = (
            None if isinstance(event, Ready | Stats | Heartbeat) else self._streams.get(event.id)
        )
        if stream is None or stream.ended:
            return None
        stream.fail(Unavailable("The server failed on this answer; its log says why."))
        return stream.id

    def fail(self, message: str, *, waiting: bool = False) -> None:
        """End what the engine was working on with an error; `waiting`: all the rest, too."""
        for stream in self._streams.values():
            if stream.sent or waiting:
                stream.fail(Unavailable(message, headers={"Retry-After": "1"}))

    def keep_alive(self, interval: float) -> None:
        """Tell those that have waited so many seconds for news."""
        for stream in self._streams.values():
            stream.keep_alive(interval)

    # --- models that end the engine -------------------------------------------------------------

    def engine_ended(self, stats: Stats | None) -> None:
        """Count the engine's end against the models that it was loading or computing with.

        `stats` is the last that it told.
        """
        working = (stream for stream in self._streams.values() if _is_worked_on(stream, stats))
        for model in {stream.model for stream in working}:
            self._kills[model] = self._kills.get(model, 0) + 1

    def is_refused(self, model: str) -> bool:
        """Whether a model has ended the engine too often to be tried again."""
        return self._kills.get(model, 0) >= MOST_KILLS

    def forgive(self, model: str) -> None:
        """Let a model be tried again."""
        self._kills.pop(model, None)


def _is_worked_on(stream: RequestStream, stats: Stats | None) -> bool:
    """Whether the engine was loading or computing for a request: one that waits is not to blame.

    A request that the engine has not told of yet may be why it ended.
    """
    if stream.ended or not stream.sent or not stream.needs_model:
        return False
    # What has begun is told by its own events, sooner than by the statistics.
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
