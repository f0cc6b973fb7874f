"""Hold users to their limits: requests in flight, and tokens a minute."""

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from mlx_notebook.server.errors import RateLimited
from mlx_notebook.server.users.token_budgets import TokenBudgets, seconds_until
from mlx_notebook.server.users.user import User
from mlx_notebook.server.users.user_limits import UserLimits

# Nobody knows when a request will end. Clients ask again after this time.
_ASK_AGAIN_SECONDS = 1.0


class RateState(NamedTuple):
    """How much of one limit is left.

    Attributes
    ----------
    kind
        What is limited.
    limit, remaining
        How much there is of it in all, and now.
    reset
        Seconds until all of it is there again; for requests, until it is worth asking again.
    """

    kind: str
    limit: int
    remaining: int
    reset: float


class UserRequest:
    """A request of a user that is in flight until it is released.

    Parameters
    ----------
    release
        Called once, at the end.
    take
        Called with tokens of the request.
    """

    def __init__(self, release: Callable[[], None], take: Callable[[int], None]) -> None:
        self._release: Callable[[], None] | None = release
        self.take_tokens = take

    def release(self) -> None:
        """End the request. A second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class RateLimiter:
    """Count the requests and the tokens of each user who has limits.

    Parameters
    ----------
    limits
        The limits of all users.
    clock
        Return seconds.
    """

    def __init__(self, limits: UserLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._tokens = TokenBudgets(clock)
        self._in_flight = Counter[str]()

    def begin(self, user: User, *, patient: bool = False) -> UserRequest:
        """Begin a request of a user.

        A patient one takes none of the requests that the user may have in flight, and leaves the
        user half of the tokens of a minute.

        Raises
        ------
        RateLimited
            If the user has as many requests in flight, or has taken as many tokens, as the limits
            allow.
        """
        limit = self.limits.of(user)
        most, per_minute = limit.requests_in_flight, limit.tokens_per_minute
        if most is not None and not patient and self._in_flight[user.name] >= most:
            raise RateLimited(
                f"As many of your requests are in flight as you may have: {most} "
                "(requests_in_flight in MlxNotebookApp.user_limits). Wait until one of them ends.",
                kind="requests",
                retry_after=math.ceil(_ASK_AGAIN_SECONDS),
            )
        if per_minute is not None:
            left = self._tokens.left(user.name, per_minute)
            needed = max(1.0, per_minute / 2) if patient else 1.0
            if left < needed:
                wait = math.ceil(seconds_until(left, needed, per_minute))
                raise RateLimited(
                    f"You have used the {per_minute:,} tokens a minute that this server allows "
                    "you (tokens_per_minute in MlxNotebookApp.user_limits). Try again in "
                    f"{wait} s.",
                    kind="tokens",
                    retry_after=wait,
                )

        def take(tokens: int) -> None:
            self._take(user.name, per_minute, tokens)

        if patient:
            return UserRequest(lambda: None, take)
        self._in_flight[user.name] += 1
        return UserRequest(lambda: self._end(user.name), take)

    def states(self, user: User) -> list[RateState]:
        """Return how much is left of each limit that the user has."""
        limit = self.limits.of(user)
        states = []
        if (most := limit.requests_in_flight) is not None:
            left = max(0, most - self._in_flight[user.name])
            reset = _ASK_AGAIN_SECONDS if left < most else 0.0
            states.append(RateState("requests", most, left, reset))
        if (per_minute := limit.tokens_per_minute) is not None:
            tokens = self._tokens.left(user.name, per_minute)
            reset = seconds_until(tokens, per_minute, per_minute)
            states.append(RateState("tokens", per_minute, max(0, int(tokens)), reset))
        return states

    def _take(self, user: str, per_minute: int | None, tokens: int) -> None:
        if per_minute is not None and tokens:
            self._tokens.take(user, per_minute, tokens)

    def _end(self, user: str) -> None:
        self._in_flight[user] -= 1
        if not self._in_flight[user]:
            del self._in_flight[user]
