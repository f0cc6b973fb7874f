"""Keep the engine's statistics: the latest, totals over restarts, and the last two minutes."""

import time
from collections import deque
from itertools import pairwise

import msgspec

from mlx_notebook.protocol import DiskWrites, Memory, Resident, Stats, Totals
from mlx_notebook.server.telemetry.metrics import DISK_SKIPPED, DISK_WRITTEN
from mlx_notebook.server.wire.native.status_types import HistoryPoint, TotalCounts

_POINTS = 120
_NO_MEMORY = Memory(0, 0, 0, 0, 0)


class EngineTelemetry:
    """Hold the latest statistics, totals over all engine processes, and one point each second."""

    def __init__(self) -> None:
        self.stats: Stats | None = None
        self.history: deque[HistoryPoint] = deque(maxlen=_POINTS)
        self._before = Totals()

    def update(self, stats: Stats) -> bool:
        """Store new statistics of the engine. Return whether they differ from the last ones."""
        changed = self.stats is None or _compared(stats) != _compared(self.stats)
        before = self.disk
        DISK_WRITTEN.inc(max(0, stats.disk.total_written - before.total_written))
        DISK_SKIPPED.inc(max(0, stats.disk.total_skipped - before.total_skipped))
        self.stats = stats
        return changed

    def engine_ended(self) -> None:
        """Keep the totals of an engine process that has ended. Its unfinished requests failed."""
        total = self._sum()
        ended = total.finished + total.cancelled + total.failed
        self._before = msgspec.structs.replace(
            total, failed=total.failed + max(0, total.requests - ended)
        )
        self.stats = None

    @property
    def totals(self) -> TotalCounts:
        """Counts since the start of the server."""
        total = self._sum()
        return TotalCounts(*(getattr(total, name) for name in Totals.__struct_fields__))

    @property
    def resident(self) -> dict[str, Resident]:
        """Resident models by name."""
        return {model.model: model for model in self.stats.resident} if self.stats else {}

    @property
    def memory(self) -> Memory:
        """Memory of the running engine; zeros if none runs."""
        return self.stats.memory if self.stats else _NO_MEMORY

    @property
    def disk(self) -> DiskWrites:
        """Writes of the running engine's prefix cache to disk; zeros if none runs."""
        return self.stats.disk if self.stats else DiskWrites()

    def sample(self, active: int) -> None:
        """Add a point to the history."""
        stats = self.stats
        self.history.append(
            HistoryPoint(
                time=time.time(),
                decode=stats.decode_rate if stats else 0.0,
                prefill=stats.prefill_rate if stats else 0.0,
                active=active,
                memory=self.memory.active,
            )
        )

    @property
    def is_moving(self) -> bool:
        """Whether a chart of the history changes every second, even when nothing happens."""
        return any(_plotted(one) != _plotted(next_one) for one, next_one in pairwise(self.history))

    def _sum(self) -> Totals:
        now = self.stats.totals if self.stats else Totals()
        return Totals(
            *(getattr(self._before, name) + getattr(now, name) for name in Totals.__struct_fields__)
        )


def _plotted(point: HistoryPoint) -> tuple[float, ...]:
    return point.decode, point.prefill, point.active, point.memory


def _compared(stats: Stats) -> tuple[object, ...]:
    # Leave out the size of the process, which changes all the time.
    memory = stats.memory
    return (
        stats.resident,
        stats.loading,
        stats.progress,
        stats.requests,
        stats.totals,
        stats.disk,
        (memory.active, memory.cache, memory.prefixes),
        [(rank.pid, rank.active_bytes) for rank in stats.ranks],
        stats.decode_rate,
        stats.prefill_rate,
    )
