"""A pool of threads that users share: they take turns, however many jobs each of them has."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mlx_notebook.engine.residency.user_turns import UserTurns


@dataclass(frozen=True, eq=False)
class PoolJob:
    """A function that a thread of the pool calls for a user. It raises nothing."""

    user: str
    run: Callable[[], None]


class SharedPool:
    """Threads that do the jobs of users in turn, and those of one user in their order.

    Parameters
    ----------
    threads
        How many.
    name
        What the names of the threads begin with.
    """

    def __init__(self, threads: int, name: str):
        self._threads = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[PoolJob]] = {}
        self._turns = UserTurns()

    def submit(self, user: str, run: Callable[[], None]) -> PoolJob:
        """Add a job for a user, and return it."""
        job = PoolJob(user, run)
        with self._lock:
            self._waiting.setdefault(user, deque()).append(job)
        self._threads.submit(self._run_next)
        return job

    def cancel(self, job: PoolJob) -> bool:
        """Remove a job. Return whether it had not begun."""
        with self._lock:
            jobs = self._waiting.get(job.user, deque())
            if job not in jobs:
                return False
            jobs.remove(job)
            self._drop_if_empty(job.user)
            return True

    def _run_next(self) -> None:
        with self._lock:
            if not self._waiting:  # the job that this call was for is cancelled
                return
            user = self._turns.next(self._waiting)
            job = self._waiting[user].popleft()
            self._turns.charge(user)
            self._drop_if_empty(user)
        job.run()

    def _drop_if_empty(self, user: str) -> None:
        if not self._waiting[user]:
            del self._waiting[user]
