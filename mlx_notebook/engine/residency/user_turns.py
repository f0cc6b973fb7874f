"""Lets users take turns, so that one with many requests delays no other by more than one turn."""

from collections.abc import Iterable


class UserTurns:
    """Counts what each waiting user was given. Who has been given least comes next.

    A user who had nothing to do has no turns saved up: a new one begins with the count of the one
    who has been given least.
    """

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def counts(self, waiting: Iterable[str]) -> dict[str, float]:
        """Return what each of the waiting users was given. Others are forgotten."""
        users = list(dict.fromkeys(waiting))
        least = min((self._given[user] for user in users if user in self._given), default=0.0)
        self._given = {user: max(least, self._given.get(user, least)) for user in users}
        return self._given

    def next(self, waiting: Iterable[str]) -> str:
        """Return the user whose turn it is; among equals the one who is named first."""
        counts = self.counts(waiting)
        return min(counts, key=counts.__getitem__)

    def charge(self, user: str, amount: float = 1.0) -> None:
        """Count what a user was given."""
        if user in self._given:
            self._given[user] += amount
