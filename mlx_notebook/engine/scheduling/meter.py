"""Counts tokens and measures rates and memory, for the statistics that the server shows."""

import time
from collections import deque

import mlx.core as mx
import msgspec
import psutil

from mlx_notebook.engine.distributed.leader import Leader
from mlx_notebook.engine.generation.request import Request, RequestState
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.scheduling.live_requests import LiveRequests
from mlx_notebook.protocol import Memory, Resident, Stats, Totals

_WINDOW_SECONDS = 1.0


class Rate:
    """Events per second over the last second."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> None:
        """Record `count` events."""
        self._marks.append((now, count))

    def value(self, now: float) -> float:
        """Return the rate at this moment."""
        while self._marks and self._marks[0][0] < now - _WINDOW_SECONDS:
            self._marks.popleft()
        return sum(count for _, count in self._marks) / _WINDOW_SECONDS


class Meter:
    """The statistics of the engine since it began.

    Parameters
    ----------
    residency, requests, prefixes
        What the statistics describe.
    leader
        Knows the other ranks; None if there is one rank.
    """

    def __init__(
        self,
        residency: Residency,
        requests: LiveRequests,
        prefixes: PrefixCache,
        leader: Leader | None = None,
    ):
        self._leader = leader
        self._residency, self._requests, self._prefixes = residency, requests, prefixes
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0
        self._decode, self._prefill = Rate(), Rate()
        self._process = psutil.Process()

    def count_prompt(self, request: Request) -> None:
        """Count the prompt of a request that has joined a batch."""
        self._prompt_tokens += request.prompt_tokens
        self._cached_tokens += request.cached

    def count_step(self, generated: int, prefilled: int) -> None:
        """Count the tokens of one step."""
        now = time.perf_counter()
        if generated:
            self._generated_tokens += generated
            self._decode.add(generated, now)
        if prefilled:
            self._prefill.add(prefilled, now)

    def stats(self) -> Stats:
        """Return the state of the engine now, for the server."""
        now = time.perf_counter()
        return Stats(
            [self.resident(resident) for resident in self._residency.models.values()],
            self._residency.loading,
            [request.live() for request in self._requests],
            self._totals(),
            self._memory(),
            self._decode.value(now),
            self._prefill.value(now),
            self._residency.budget.limit * self._residency.budget.ranks,
            self._residency.progress,
            self._prefixes.disk_writes,
            self._leader.statuses if self._leader is not None else [],
        )

    def resident(self, resident: ResidentModel) -> Resident:
        """Return the state of a resident model. Its parts on all ranks count."""
        status = resident.status
        return msgspec.structs.replace(status, bytes=status.bytes * self._residency.budget.ranks)

    def _totals(self) -> Totals:
        ended = self._requests.ended
        return Totals(
            self._requests.total,
            ended[RequestState.FINISHED],
            ended[RequestState.CANCELLED],
            ended[RequestState.FAILED],
            self._prompt_tokens,
            self._cached_tokens,
            self._generated_tokens,
        )

    def _memory(self) -> Memory:
        return Memory(
            mx.get_active_memory(),
            mx.get_cache_memory(),
            mx.get_peak_memory(),
            self._process.memory_info().rss,
            self._prefixes.nbytes,
            self._residency.wired.limit,
        )
