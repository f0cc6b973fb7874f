"""The state of a request, and the phase and timings that follow from it."""

import time

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.generation.request import Request, RequestState

S = RequestState
GENERATES = [S.LOADING, S.PREPARING, S.READY, S.PREFILL, S.DECODE]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock: one number, which the test advances."""
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return clock


def request() -> Request:
    prompt = protocol.TextPrompt(text="Hello")
    command = protocol.Generate(id="7", model="m", path="/m", prompt=prompt)
    return Request(command, arrived=time.perf_counter())


def test_a_new_request_is_queued(now: list[float]) -> None:
    new = request()
    assert (new.state, new.phase, new.arrived) == (S.QUEUED, "queued", 100.0)
    assert new.waits_for_model


def test_the_timings_are_the_seconds_in_each_state(now: list[float]) -> None:
    asked = request()
    for seconds, state in enumerate(GENERATES, start=1):
        now[0] += seconds
        asked.enter(state)
    now[0] += 10
    # One second queued, two loading, three in preparation, four ready, five in the prefill.
    assert asked.timings() == protocol.Timings(
        queued=1 + 3 + 4, loading=2, prefill=5, first_token=15, decode=10
    )


def test_a_request_that_waited_without_a_load_has_no_loading_time(now: list[float]) -> None:
    asked = request()
    for state in (S.PREPARING, S.READY, S.QUEUED, S.PREPARING, S.READY, S.PREFILL, S.DECODE):
        now[0] += 1
        asked.enter(state)
    assert asked.timings() == protocol.Timings(
        queued=6, loading=0, prefill=1, first_token=7, decode=0
    )


def test_clients_see_four_phases(now: list[float]) -> None:
    asked = request()
    seen = [asked.phase]
    for state in GENERATES:
        asked.enter(state)
        seen.append(asked.phase)
    assert seen == ["queued", "loading", "queued", "queued", "prefill", "decode"]


def test_a_request_for_no_tokens_ends_from_the_ready_state(now: list[float]) -> None:
    asked = request()
    for state in (S.PREPARING, S.SCORING, S.READY):
        asked.enter(state)
    events: list[protocol.Event] = []
    now[0] += 2
    asked.finish_without_tokens(events)
    finished, done = events
    assert finished == protocol.Finished("7", 0, "length")
    assert isinstance(done, protocol.Done)
    assert done.timings.queued == done.timings.first_token == 2
    assert asked.state is S.FINISHED


@pytest.mark.parametrize("state", [S.PREFILL, S.DECODE, S.FINISHED, S.QUEUED])
def test_a_request_cannot_skip_a_state(state: RequestState) -> None:
    with pytest.raises(RuntimeError, match=f"7 cannot go from QUEUED to {state.name}"):
        request().enter(state)


@pytest.mark.parametrize("end", [S.CANCELLED, S.FAILED])
@pytest.mark.parametrize("steps", range(len(GENERATES) + 1))
def test_a_request_can_be_cancelled_or_fail_in_any_state_but_only_once(
    end: RequestState, steps: int
) -> None:
    asked = request()
    for state in GENERATES[:steps]:
        asked.enter(state)
    asked.enter(end)
    for other in RequestState:
        with pytest.raises(RuntimeError, match=f"from {end.name}"):
            asked.enter(other)


def test_a_live_request_shows_its_rate_and_age(now: list[float]) -> None:
    asked = request()
    for state in GENERATES:
        now[0] += 1
        asked.enter(state)
    now[0] += 2
    live = asked.live()
    assert (live.phase, live.age, live.tokens_per_second) == ("decode", 7.0, 0.0)
