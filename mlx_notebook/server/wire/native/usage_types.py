"""The response of `mlx/usage`. Times are in Unix seconds, durations in seconds."""

from msgspec import Struct


class UsageCounts(Struct, kw_only=True):
    """Requests and tokens of today, and the requests in flight.

    `refused` requests were not admitted, because of a limit or a missing right. `tokens_per_second`
    is the speed of the running requests together. `first_token` is the median of the time to the
    first token of the last requests, and `first_token_p95` the 95th percentile.
    """

    running: int
    waiting: int
    requests: int
    cancelled: int
    failed: int
    refused: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    tokens_per_second: float
    first_token: float | None
    first_token_p95: float | None
    last_request: float | None


class UserUsage(UsageCounts, kw_only=True):
    """The usage of one user. The name is empty for all who use the server's own token."""

    user: str


class UsageReport(Struct):
    """The usage since midnight, or since the server started.

    `all_users` says whether `users` lists everyone, which only an admin sees, or the caller alone.
    `totals` counts everyone. `admin_reads_texts` says whether an admin may read what users wrote.
    """

    since: float
    all_users: bool
    admin_reads_texts: bool
    users: list[UserUsage]
    totals: UsageCounts
