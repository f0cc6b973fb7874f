"""When the server hears that the engine is slow, and what with."""

import time

import pytest

from mlx_notebook.engine.runtime.activity import Activity, ActivityWatch
from mlx_notebook.protocol import Heartbeat


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def checks(
    watch: ActivityWatch, activity: Activity, now: list[float], count: int
) -> list[Heartbeat | None]:
    """The results of checks that are a second apart."""
    results = []
    for _ in range(count):
        now[0] += 1
        results.append(watch.check(activity))
    return results


def test_an_engine_without_frames_says_what_it_does_and_for_how_long(now: list[float]) -> None:
    watch, activity = ActivityWatch(1.0), Activity()
    activity.work = "loading"
    assert checks(watch, activity, now, 2) == [Heartbeat("loading", 1), Heartbeat("loading", 2)]
    activity.frames += 1
    activity.work = "step"
    assert checks(watch, activity, now, 2) == [None, Heartbeat("step", 1)]


def test_an_engine_whose_frames_the_server_does_not_take_is_not_stuck(now: list[float]) -> None:
    watch, activity = ActivityWatch(1.0), Activity()
    activity.preparing = 1
    activity.blocked = True
    assert checks(watch, activity, now, 9) == [None] * 9
    activity.blocked = False
    assert checks(watch, activity, now, 1) == [Heartbeat("step", 1)]


def test_a_suspended_process_does_not_look_stuck(now: list[float]) -> None:
    watch = ActivityWatch(1.0)
    now[0] += 3600
    assert watch.check(Activity()) == Heartbeat("step", 1)


def test_frames_do_not_hide_that_no_job_is_prepared(now: list[float]) -> None:
    watch, activity = ActivityWatch(1.0), Activity()
    activity.preparing = 1
    results = []
    for _ in range(3):
        now[0] += 0.5
        activity.frames += 1
        results.append(watch.check(activity))
    assert [told.work for told in results if told is not None] == ["preparation"]
    activity.prepared += 1
    now[0] += 0.5
    activity.frames += 1
    assert watch.check(activity) is None
