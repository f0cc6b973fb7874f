"""The preparation of a request ends at its deadline, or when its client disconnects."""

import pytest

from mlx_notebook.engine.errors import Cancelled, LimitExceeded
from mlx_notebook.engine.sandbox.deadline import Deadline, current


def test_a_deadline_that_has_passed_is_an_error() -> None:
    Deadline(60).check()
    with pytest.raises(LimitExceeded, match="took more than -1 seconds"):
        Deadline(-1).check()


def test_a_cancelled_preparation_ends_at_its_next_check() -> None:
    deadline = Deadline()
    deadline.stop()
    assert deadline.stopped
    with pytest.raises(Cancelled):
        deadline.check()


def test_the_current_deadline_is_the_active_one() -> None:
    deadline = Deadline()
    with deadline.active():
        assert current() is deadline
    assert current() is not deadline


def test_time_counts_from_when_a_deadline_becomes_active(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    deadline = Deadline(5)
    now = 1010.0
    with deadline.active():
        deadline.check()
        now = 1016.0
        with pytest.raises(LimitExceeded):
            deadline.check()
