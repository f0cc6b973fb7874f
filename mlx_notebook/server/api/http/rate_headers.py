"""Write headers that tell a user's limits, as OpenAI's and Anthropic's APIs do.

Sources: https://platform.openai.com/docs/guides/rate-limits and
https://docs.anthropic.com/en/api/rate-limits.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from mlx_notebook.server.users.rate_limiter import RateState

RATE_HEADERS = tuple(
    f"x-ratelimit-{what}-{kind}"
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)
"""OpenAI's names of the headers."""


def openai_headers(states: Iterable[RateState]) -> dict[str, str]:
    """Return the headers of OpenAI's API."""
    headers = {}
    for state in states:
        headers[f"x-ratelimit-limit-{state.kind}"] = str(state.limit)
        headers[f"x-ratelimit-remaining-{state.kind}"] = str(state.remaining)
        headers[f"x-ratelimit-reset-{state.kind}"] = duration(state.reset)
    return headers


def anthropic_headers(states: Iterable[RateState], now: float) -> dict[str, str]:
    """Return the headers of Anthropic's API; `now` is in seconds since 1970."""
    headers = {}
    for state in states:
        name = f"anthropic-ratelimit-{state.kind}"
        reset = datetime.fromtimestamp(math.ceil(now + state.reset), UTC)
        headers[f"{name}-limit"] = str(state.limit)
        headers[f"{name}-remaining"] = str(state.remaining)
        headers[f"{name}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it, rounded up: `0s`, `17ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return text
