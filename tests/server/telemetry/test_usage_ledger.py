import time

import prometheus_client

from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.telemetry.usage_ledger import (
    OTHERS,
    USERS,
    UsageLedger,
    summarise_times,
    user_name,
)


def test_requests_and_tokens_are_counted_by_user() -> None:
    ledger = UsageLedger()
    for status in ("finished", "failed", "cancelled"):
        ledger.begin("user:ann")
        ledger.end("user:ann", status, 10, 4, 3)
    ledger.refuse("user:bob")
    ann, bob = ledger.today()["user:ann"], ledger.today()["user:bob"]
    assert (ann.requests, ann.failed, ann.cancelled, ann.refused) == (3, 1, 1, 0)
    assert (ann.prompt_tokens, ann.cached_tokens, ann.generated_tokens) == (30, 12, 9)
    assert (bob.requests, bob.refused, bob.last_request) == (0, 1, None)


def test_a_new_day_begins_at_zero_and_a_request_counts_on_the_day_of_its_end() -> None:
    now = time.mktime((2026, 3, 1, 23, 59, 0, 0, 0, -1))
    ledger = UsageLedger(lambda: now)
    ledger.begin("user:ann")
    began = ledger.since
    now += 120
    assert ledger.today() == {}
    assert ledger.since > began
    ledger.end("user:ann", "finished", 5, 0, 2)
    assert ledger.today()["user:ann"].generated_tokens == 2


def test_users_beyond_a_bound_are_counted_together() -> None:
    ledger = UsageLedger()
    ledger.named = 0
    for number in range(1200):
        ledger.begin(f"user:{number}")
    today = ledger.today()
    assert len(today) == 1001
    assert today[OTHERS].requests == 200


def test_metrics_name_a_bounded_number_of_users_and_never_the_owner() -> None:
    ledger = UsageLedger()
    ledger.named = 2
    for name in (OWNER, "user:first-of-three", "user:second-of-three", "user:third-of-three"):
        ledger.begin(name)
        ledger.end(name, "finished", 3, 0, 0)
    text = prometheus_client.generate_latest(USERS).decode()
    assert 'mlx_notebook_user_prompt_tokens_total{user="first-of-three"} 3.0' in text
    assert "second-of-three" in text
    assert "third-of-three" not in text
    assert 'mlx_notebook_user_prompt_tokens_total{user="other"}' in text
    assert 'user=""' not in text
    assert 'user="owner"' not in text


def test_times_are_summarised_by_their_median_and_95th_percentile() -> None:
    assert summarise_times([]) == (None, None)
    assert summarise_times([0.5]) == (0.5, 0.5)
    assert summarise_times([n / 100 for n in range(101)]) == (0.5, 0.95)


def test_the_owner_has_no_name_and_a_user_may_be_called_owner() -> None:
    assert user_name(OWNER) == ""
    assert user_name("user:owner") == "owner"
