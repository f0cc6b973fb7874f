"""Threads do the jobs of users in turn."""

import threading

import pytest

from mlx_notebook.engine.scheduling.shared_pool import SharedPool

WAIT = 30


class Held:
    """A pool with one thread, which waits until a test lets it go on."""

    def __init__(self) -> None:
        self.pool = SharedPool(1, "test")
        self.done: list[str] = []
        self.ended = threading.Event()
        self._goes_on, began = threading.Event(), threading.Event()

        def hold() -> None:
            began.set()
            self._goes_on.wait(WAIT)

        self.first = self.pool.submit("first", hold)
        assert began.wait(WAIT)

    def let_go(self) -> list[str]:
        """Let it do all jobs; return which ones, in order."""
        last = threading.Event()
        self._goes_on.set()
        # The thread takes one after the other: this one is done when the others are.
        for _ in range(20):
            self.pool.submit("last", lambda: None)
        self.pool.submit("last", last.set)
        assert last.wait(WAIT)
        return self.done


@pytest.fixture
def held() -> Held:
    return Held()


def test_one_job_of_a_user_is_not_behind_all_of_another(held: Held) -> None:
    for number in range(5):
        held.pool.submit("a", lambda number=number: held.done.append(f"a{number}"))  # type: ignore[misc]
    held.pool.submit("b", lambda: held.done.append("b"))
    assert held.let_go() == ["a0", "b", "a1", "a2", "a3", "a4"]


def test_a_cancelled_job_is_not_done_and_a_running_one_cannot_be_cancelled(held: Held) -> None:
    gone = held.pool.submit("a", lambda: held.done.append("gone"))
    held.pool.submit("a", lambda: held.done.append("kept"))
    assert held.pool.cancel(gone)
    assert not held.pool.cancel(gone)
    assert not held.pool.cancel(held.first)
    assert held.let_go() == ["kept"]
