"""Shows what the engine is doing and for how long, so that the server can tell slow from stuck."""

import time

from mlx_notebook.protocol import Heartbeat, Work


class Activity:
    """What the engine is doing. The thread that owns MLX writes it, another one reads it.

    Attributes
    ----------
    work
        What the thread that owns MLX is doing.
    preparing
        Jobs that workers prepare, or that wait for a worker.
    prepared
        Jobs that workers have prepared since the start.
    frames
        Frames that were sent since the start.
    blocked
        Whether a frame waits because the server does not receive.
    """

    work: Work = "step"
    preparing = 0
    prepared = 0
    frames = 0
    blocked = False


class ActivityWatch:
    """Measures how long no frame has come, and how long no job was prepared.

    It counts the time between two checks, at most `interval` of it. So a process or machine that
    was suspended does not look stuck. Nor does it count while the server does not receive.

    Parameters
    ----------
    interval
        The longest time between two checks, in seconds.
    """

    def __init__(self, interval: float):
        self._interval = interval
        self._checked = self._reported = time.monotonic()
        self._silent = self._unprepared = 0.0
        self._prepared = self._frames = 0

    def check(self, activity: Activity) -> Heartbeat | None:
        """Return a heartbeat for the server, once per interval at most; None if nothing is slow."""
        now = time.monotonic()
        passed = min(now - self._checked, self._interval)
        self._checked = now
        if activity.blocked:
            return None
        if activity.frames != self._frames:
            self._silent, self._frames = 0.0, activity.frames
        else:
            self._silent += passed
        if not activity.preparing or activity.prepared != self._prepared:
            self._unprepared, self._prepared = 0.0, activity.prepared
        elif self._silent < 2 * self._interval:  # otherwise MLX's thread does not take results
            self._unprepared += passed
        if now - self._reported < self._interval:
            return None
        if self._silent >= self._interval:
            heartbeat = Heartbeat(activity.work, self._silent)
        elif self._unprepared >= self._interval:
            heartbeat = Heartbeat("preparation", self._unprepared)
        else:
            return None
        self._reported = now
        return heartbeat
