"""Holds prepared requests back for some milliseconds, so that those of a burst begin together.

Prompts that are computed in one batch take hardly longer than one of them, where a device is wide.
"""

_MOST_SECONDS = 0.02
"""Longest time for which a request is held back."""

_GAP_SECONDS = 0.005
"""A burst has ended if no request arrives for so long."""

_TOGETHER_SECONDS = 0.02
"""Requests that arrive within this time of each other are a burst."""


class Gathering:
    """Decides for one model when its prepared requests begin."""

    def __init__(self) -> None:
        self._last = self._before = float("-inf")
        self._held_since: float | None = None

    def arrived(self, now: float) -> None:
        """Record that a request for the model has arrived."""
        self._before, self._last = self._last, now

    def holds(self, *, preparing: bool, now: float, alone: float = 0.0) -> bool:
        """Return whether the prepared requests should wait for more.

        Parameters
        ----------
        preparing
            Whether other requests for the model are being prepared.
        alone
            For how many seconds a request waits although no other is known.
        """
        if self._held_since is None:
            self._held_since = now
        burst = self._last - self._before < _TOGETHER_SECONDS
        more = preparing or (burst and now - self._last < _GAP_SECONDS)
        held = now - self._held_since
        if held < (_MOST_SECONDS if more else alone):
            return True
        self._held_since = None
        return False
