"""Which models the end of an engine counts against."""

import pytest

from mlx_notebook.protocol import (
    Done,
    LiveRequest,
    LoadProgress,
    Memory,
    Prefill,
    RequestPhase,
    Stats,
    Timings,
    Totals,
    Usage,
)
from mlx_notebook.server.engine.in_flight_requests import MAX_CRASHES, InFlightRequests
from mlx_notebook.server.engine.request_stream import RequestStream


def in_flight(**sent: bool) -> InFlightRequests:
    """Return requests in flight, one for each model that is named."""
    flights = InFlightRequests()
    for model, was_sent in sent.items():
        stream = RequestStream(f"to-{model}", model, 1, "owner")
        stream.sent = was_sent
        flights.add(stream)
    return flights


def stats(
    loading: tuple[str, ...] = (), progress: str | None = None, **phases: RequestPhase
) -> Stats:
    live = [
        LiveRequest(f"to-{model}", model, phase, 1, 0, 0, 0, 0.0, 0.0)
        for model, phase in phases.items()
    ]
    return Stats(
        resident=[],
        loading=list(loading),
        requests=live,
        totals=Totals(),
        memory=Memory(0, 0, 0, 0, 0),
        decode_rate=0.0,
        prefill_rate=0.0,
        budget=0,
        progress=LoadProgress(progress, 1, 2) if progress else None,
    )


@pytest.mark.parametrize(
    ("last", "to_blame"),
    [
        (None, {"a", "b"}),
        (stats(a="decode", b="queued"), {"a"}),
        (stats(a="prefill", b="decode"), {"a", "b"}),
        (stats(("b",), "b", a="decode", b="loading"), {"a", "b"}),
        # Two that wait for memory, the first of which may just begin; then one that computes.
        (stats(("a", "b"), a="loading", b="loading"), {"a"}),
        (stats(("b",), a="decode", b="loading"), {"a"}),
        # One that the engine has not told of yet may be why it ended.
        (stats(a="queued"), {"b"}),
    ],
)
def test_only_what_was_loading_or_computing_is_to_blame(
    last: Stats | None, to_blame: set[str]
) -> None:
    flights = in_flight(a=True, b=True, waits_for_the_engine=False)
    for _ in range(MAX_CRASHES):
        flights.engine_ended(last)
    models = ("a", "b", "waits_for_the_engine")
    assert {model for model in models if flights.is_refused(model)} == to_blame


def test_what_has_begun_is_to_blame_though_the_statistics_are_older() -> None:
    flights = in_flight(a=True)
    flights.handle(Prefill("to-a", 1, 2, 0))
    for _ in range(MAX_CRASHES):
        flights.engine_ended(stats(a="queued"))
    assert flights.is_refused("a")


def test_orders_to_unload_and_requests_that_have_ended_are_not_to_blame() -> None:
    flights = InFlightRequests()
    flights.add(RequestStream("1", "unloaded", 0, "owner", needs_model=False))
    ended = RequestStream("2", "answered", 1, "owner")
    flights.add(ended)
    for stream in flights.streams:
        stream.sent = True
    ended.push(Done("2", Usage(1, 1, 0, 0), Timings(0, 0, 0, 0, 0)))
    for _ in range(MAX_CRASHES):
        flights.engine_ended(None)
    assert not flights.is_refused("unloaded")
    assert not flights.is_refused("answered")


def test_the_peak_counts_requests_that_have_ended_meanwhile() -> None:
    flights = in_flight(a=True, b=True)
    for stream in flights.streams:
        flights.remove(stream)
    assert flights.take_peak() == 2
    assert flights.take_peak() == 0
