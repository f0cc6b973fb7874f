"""The memory that is kept free for jobs in processes of their own, such as fine-tuning.

A job gets its memory as a model does: idle models are evicted for it, busy ones are waited for, and
pinned ones stay. Once it has waited `swap_patience` seconds, later requests for the models in its
way wait too.
"""

import dataclasses
import time
from collections.abc import Callable

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.protocol import EngineConfig, Event, Reserve, Reserved


class MemoryReservations:
    """Holds back memory of the budget for jobs, in the order in which they ask.

    Parameters
    ----------
    residency
        The models, which make room.
    settings
        The engine's settings.
    shrink
        Called with the bytes that are left for the prefix cache.
    """

    def __init__(
        self, residency: Residency, settings: EngineConfig, shrink: Callable[[int], None]
    ) -> None:
        self._residency, self._settings, self._shrink = residency, settings, shrink
        self._held: dict[str, int] = {}
        self._waiting: list[tuple[Reserve, float]] = []

    def __len__(self) -> int:
        """Return how many jobs wait for memory."""
        return len(self._waiting)

    def ask(self, command: Reserve) -> None:
        """Take a job's wish. `advance` answers it."""
        self._waiting.append((command, time.perf_counter()))

    def release(self, holder: str) -> None:
        """Give back the memory of a job, or forget its wish."""
        self._waiting = [one for one in self._waiting if one[0].holder != holder]
        self._held.pop(holder, None)
        self._tell_budget()

    def cancel(self, command_id: str) -> None:
        """Forget a wish. A job that has memory already keeps it."""
        self._waiting = [one for one in self._waiting if one[0].id != command_id]

    def advance(self) -> list[Event]:
        """Fulfil or refuse the first wish; return the answer, and nothing while models are busy."""
        if not self._waiting:
            return []
        command, since = self._waiting[0]
        try:
            granted = self._grant(command, since)
        except EngineError as error:
            self._waiting.pop(0)
            return [error.event(command.id)]
        if not granted:
            return []
        self._waiting.pop(0)
        return [Reserved(command.id, command.holder, command.bytes)]

    def _grant(self, command: Reserve, since: float) -> bool:
        residency = self._residency
        others = sum(size for holder, size in self._held.items() if holder != command.holder)
        budget = dataclasses.replace(residency.budget, reserved=others)
        evictions = budget.evictions_for_job(
            command.title, command.bytes, residency.models, may_evict=command.evict
        )
        if not residency.can_evict(evictions, since):
            return False
        for resident in evictions:
            residency.unload(resident.name, for_another=True)
        self._held[command.holder] = command.bytes
        self._tell_budget()
        self._shrink(residency.budget.left_beside(residency.models.values()))
        return True

    def _tell_budget(self) -> None:
        self._residency.budget = dataclasses.replace(
            self._residency.budget, reserved=sum(self._held.values())
        )
