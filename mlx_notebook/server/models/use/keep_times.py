"""Keep models in memory for as long as requests ask for, where that is longer than usual."""

import asyncio
import time
from collections.abc import Callable, Collection

_LONGEST_PAUSE = 60.0


class KeepTimes:
    """Count models as used again and again until their time is over.

    A model stays for the server's own idle time after that. It may still be evicted if another one
    needs the memory.

    Parameters
    ----------
    keep
        Count a model as used now.
    resident
        Return the names of the models in memory.
    idle_seconds
        Return the time after which an unused model is unloaded; 0 for never.
    """

    def __init__(
        self,
        keep: Callable[[str], None],
        resident: Callable[[], Collection[str]],
        idle_seconds: Callable[[], float],
    ) -> None:
        self._keep = keep
        self._resident = resident
        self._idle_seconds = idle_seconds
        self._until: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, model: str, seconds: float) -> None:
        """Keep a model for some seconds from now; for ever if they are infinite.

        Only the last time that was set for a model counts.
        """
        self._until[model] = time.monotonic() + seconds
        if self._timer is None:
            self._wait()

    def left(self, model: str) -> float:
        """Return for how many seconds a model is kept, 0 if nobody has asked for it."""
        return max(0.0, self._until.get(model, 0.0) - time.monotonic())

    def _wait(self) -> None:
        idle = self._idle_seconds()
        pause = min(_LONGEST_PAUSE, idle / 3) if idle else _LONGEST_PAUSE
        self._timer = asyncio.get_running_loop().call_later(pause, self._again)

    def _again(self) -> None:
        self._timer = None
        resident = self._resident()
        self._until = {
            model: until
            for model, until in self._until.items()
            if until > time.monotonic() and model in resident
        }
        for model in self._until:
            self._keep(model)
        if self._until:
            self._wait()
