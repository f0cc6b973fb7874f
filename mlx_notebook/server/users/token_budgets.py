"""Count the tokens that users take, against a number a minute."""

import time
from collections.abc import Callable

_MINUTE = 60.0
# Users whose tokens are remembered, before those who have all their tokens again are forgotten.
_MANY_USERS = 1000


class _Budget:
    """The tokens that a user has left, at a time. It is below zero if an answer took more."""

    def __init__(self, left: float, at: float) -> None:
        self.left, self.at = left, at

    def refill(self, limit: int, now: float) -> None:
        self.left = min(float(limit), self.left + (now - self.at) * limit / _MINUTE)
        self.at = now


class TokenBudgets:
    """Give each user a number of tokens, which come back evenly within a minute.

    A request begins while there is at least one token. What its prompt and its answer take beyond
    that is missing later, so that the average holds.

    Parameters
    ----------
    clock
        Return seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: dict[str, _Budget] = {}

    def left(self, user: str, limit: int) -> float:
        """Return how many tokens a user has left of `limit` a minute; below zero for a debt."""
        budget = self._budgets.get(user)
        if budget is None:
            return float(limit)
        budget.refill(limit, self._clock())
        return budget.left

    def take(self, user: str, limit: int, tokens: int) -> None:
        """Count tokens that a user has taken."""
        left = self.left(user, limit) - tokens
        if len(self._budgets) >= _MANY_USERS:
            self._forget()
        self._budgets[user] = _Budget(left, self._clock())

    def _forget(self) -> None:
        """Forget the users who have taken nothing for so long that they owe nothing."""
        now = self._clock()
        self._budgets = {
            user: budget
            for user, budget in self._budgets.items()
            if budget.left <= 0 or now - budget.at < _MINUTE
        }


def seconds_until(left: float, wanted: float, limit: int) -> float:
    """Return the seconds until `left` tokens have grown to `wanted`, at `limit` a minute."""
    return max(0.0, (wanted - left) * _MINUTE / limit)
