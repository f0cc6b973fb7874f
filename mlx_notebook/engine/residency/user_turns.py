"""Lets users take turns, so that one with many requests delays no other by more than one turn."""

from collections.abc import Iterable

# Users without waiting requests whose counts are kept.
_MOST_AHEAD = 1000


class UserTurns:
    """Counts what each waiting user was given. Who has been given least comes next.

    A user who had nothing to do has no turns saved up: a new one begins with the count of the one
    who has been given least.
    """

    def __init__(self) -> None:
        self._given: dict[str, float] = {}
        self._least = 0.0

    def counts(self, waiting: Iterable[str]) -> dict[str, float]:
        """Return what each of the waiting users was given."""
        users = list(dict.fromkeys(waiting))
        known = [self._given[user] for user in users if user in self._given]
        self._least = least = max(self._least, min(known, default=0.0))
        # Who has been given more stays known, even without a request that waits. Otherwise those
        # who come again and again would always be before one who has waited since the last turn.
        ahead = {user: given for user, given in self._given.items() if given > least}
        counts = {user: max(least, self._given.get(user, least)) for user in users}
        self._given = (ahead if len(ahead) <= _MOST_AHEAD else {}) | counts
        return counts

    def next(self, waiting: Iterable[str]) -> str:
        """Return the user whose turn it is; among equals the one who is named first."""
        counts = self.counts(waiting)
        return min(counts, key=counts.__getitem__)

    def charge(self, user: str, amount: float = 1.0) -> None:
        """Count what a user was given."""
        if user in self._given:
            self._given[user] += amount
