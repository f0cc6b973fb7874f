"""What the engine is doing, told by the thread that owns MLX, and for how long."""

import time

from mlx_notebook.protocol import Heartbeat, Work


class Activity:
    """Written by the thread that owns MLX, read by the one that speaks for it."""

    work: Work = "step"
    preparing = 0
    """Jobs that workers prepare or that wait for a worker."""
    prepared = 0
    """Jobs that workers have prepared since the start."""


class Watch:
    """Counts for how long no frame has come, and for how long no job was prepared.

    What counts is the time between two looks, at most `interval` of it: when the process or the
    machine stood still, nothing was held up.

    Parameters
    ----------
    interval
        The longest time between two looks, in seconds.
    """

    def __init__(self, interval: float):
        self._interval = interval
        self._looked = self._told = time.monotonic()
        self._silent = self._unprepared = 0.0
        self._prepared = 0

    def frame(self) -> None:
        """Note that a frame has come."""
        self._silent = 0.0

    def look(self, activity: Activity) -> Heartbeat | None:
        """Return what to tell the server, once an interval at most; None where nothing is held."""
        now = time.monotonic()
        passed = min(now - self._looked, self._interval)
        self._looked = now
        self._silent += passed
        if not activity.preparing or activity.prepared != self._prepared:
            self._unprepared, self._prepared = 0.0, activity.prepared
        elif self._silent < 2 * self._interval:  # else the owner takes in nothing that is prepared
            self._unprepared += passed
        if now - self._told < self._interval:
            return None
        if self._silent >= self._interval:
            working = Heartbeat(activity.work, self._silent)
        elif self._unprepared >= self._interval:
            working = Heartbeat("preparation", self._unprepared)
        else:
            return None
        self._told = now
        return working
