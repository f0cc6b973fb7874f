"""Headers about limits have the names and the formats of OpenAI's and Anthropic's APIs."""

import pytest

from mlx_notebook.server.api.http.rate_headers import (
    RATE_HEADERS,
    anthropic_headers,
    duration,
    openai_headers,
)
from mlx_notebook.server.users.rate_limiter import RateState

STATES = [RateState("requests", 4, 3, 1.0), RateState("tokens", 20_000, 150, 59.55)]


def test_openais_headers() -> None:
    headers = openai_headers(STATES)
    assert headers == {
        "x-ratelimit-limit-requests": "4",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "20000",
        "x-ratelimit-remaining-tokens": "150",
        "x-ratelimit-reset-tokens": "59.55s",
    }
    assert tuple(headers) == RATE_HEADERS
    assert openai_headers([]) == {}


def test_anthropics_headers() -> None:
    assert anthropic_headers(STATES, 1_750_000_000.2) == {
        "anthropic-ratelimit-requests-limit": "4",
        "anthropic-ratelimit-requests-remaining": "3",
        "anthropic-ratelimit-requests-reset": "2025-06-15T15:06:42Z",
        "anthropic-ratelimit-tokens-limit": "20000",
        "anthropic-ratelimit-tokens-remaining": "150",
        "anthropic-ratelimit-tokens-reset": "2025-06-15T15:07:40Z",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0161, "17ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s"), (3723.5, "1h2m3.5s")],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
