"""Count what each user asks for, today and for Prometheus. No texts."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from statistics import quantiles

from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter

from mlx_notebook.server.identity import OWNER

# Users that are counted by name; all others are counted as one.
_MAX_USERS = 1000
# Times to the first token of a user that are kept for the median.
_MAX_TIMES = 200
OTHERS = "other"

# These are apart from Jupyter's, which every user may read.
USERS = CollectorRegistry()
USER_REQUESTS = Counter(
    "mlx_notebook_user_requests_total", "Admitted requests, by user.", ["user"], registry=USERS
)
USER_REFUSALS = Counter(
    "mlx_notebook_user_refusals_total",
    "Requests that limits or rights refused (429 and 403), by user.",
    ["user"],
    registry=USERS,
)
USER_PROMPT_TOKENS = Counter(
    "mlx_notebook_user_prompt_tokens_total",
    "Prompt tokens, including reused ones and embedded texts, by user.",
    ["user"],
    registry=USERS,
)
USER_GENERATED_TOKENS = Counter(
    "mlx_notebook_user_generated_tokens_total",
    "Generated tokens, including reasoning, by user.",
    ["user"],
    registry=USERS,
)


class UserCounts(Struct):
    """Count the requests and the tokens of one user on one day.

    Attributes
    ----------
    first_tokens
        Seconds from admission to the first token, of the last requests.
    last_request
        When the last request came, in Unix seconds.
    """

    requests: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    first_tokens: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_TIMES))
    last_request: float | None = None


class UsageLedger:
    """Count by user. The counts begin anew each day at midnight, those for Prometheus never.

    Attributes
    ----------
    since
        When today's counts began, in Unix seconds.
    named
        Most users whose names are labels of the metrics. All others are one label, "other". 0 turns
        these metrics off.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.since = now()
        self.named = 50
        self._day = _day(self.since)
        self._counts: dict[str, UserCounts] = {}
        self._labels: set[str] = set()

    def today(self) -> dict[str, UserCounts]:
        """Return today's counts by the key of the user (see `identity.owner`), or `OTHERS`."""
        self._turn_page()
        return self._counts

    def begin(self, owner: str) -> None:
        """Count a request that is admitted."""
        counts = self._of(owner)
        counts.requests += 1
        counts.last_request = self._now()
        self._count(USER_REQUESTS, owner)

    def first_token(self, owner: str, seconds: float) -> None:
        """Record the time from a request's admission to its first token."""
        self._of(owner).first_tokens.append(seconds)

    def end(self, owner: str, status: str, prompt: int, cached: int, generated: int) -> None:
        """Count the tokens of a request that has ended, and whether it failed or was cancelled."""
        counts = self._of(owner)
        counts.failed += status == "failed"
        counts.cancelled += status == "cancelled"
        counts.prompt_tokens += prompt
        counts.cached_tokens += cached
        counts.generated_tokens += generated
        self._count(USER_PROMPT_TOKENS, owner, prompt)
        self._count(USER_GENERATED_TOKENS, owner, generated)

    def refuse(self, owner: str) -> None:
        """Count a request that a limit or a right refused."""
        self._of(owner).refused += 1
        self._count(USER_REFUSALS, owner)

    def _of(self, owner: str) -> UserCounts:
        self._turn_page()
        key = owner if owner in self._counts or len(self._counts) < _MAX_USERS else OTHERS
        return self._counts.setdefault(key, UserCounts())

    def _turn_page(self) -> None:
        now = self._now()
        if _day(now) != self._day:
            self._day, self.since = _day(now), now
            self._counts = {}

    def _count(self, counter: Counter, owner: str, amount: int = 1) -> None:
        # Without a Hub there is one user, whom the other metrics count.
        if owner == OWNER or not self.named or not amount:
            return
        name = user_name(owner)
        if name not in self._labels and len(self._labels) >= self.named:
            name = OTHERS
        else:
            self._labels.add(name)
        counter.labels(name).inc(amount)


def user_name(owner: str) -> str:
    """Return the name of a user whose key is `owner`; "" for those who use the server's token."""
    return "" if owner == OWNER else owner.removeprefix("user:")


def summarise_times(times: Iterable[float]) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile, None if there are no times."""
    found = sorted(times)
    if len(found) < 2:
        only = round(found[0], 4) if found else None
        return only, only
    parts = quantiles(found, n=20, method="inclusive")
    return round(parts[9], 4), round(parts[18], 4)


def _day(now: float) -> tuple[int, int]:
    local = time.localtime(now)
    return local.tm_year, local.tm_yday
