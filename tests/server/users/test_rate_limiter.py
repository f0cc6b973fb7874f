"""Requests in flight and tokens a minute are counted for each user."""

import pytest

from mlx_notebook.server.errors import RateLimited
from mlx_notebook.server.users.rate_limiter import RateLimiter, RateState
from mlx_notebook.server.users.token_budgets import TokenBudgets
from mlx_notebook.server.users.user import LOCAL, User
from mlx_notebook.server.users.user_limits import UserLimits

ADA, BEN = User("ada"), User("ben")


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(**limits: int) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(UserLimits({"*": limits}), clock), clock


def test_so_many_requests_of_a_user_are_in_flight_and_those_of_another_do_not_count() -> None:
    rates, _ = limiter(requests_in_flight=2)
    first, _ = rates.begin(ADA), rates.begin(ADA)
    with pytest.raises(RateLimited, match="as you may have: 2") as caught:
        rates.begin(ADA)
    assert caught.value.headers == {"Retry-After": "1"}
    rates.begin(BEN)
    assert rates.states(ADA) == [RateState("requests", 2, 0, 1.0)]
    first.release()
    first.release()
    assert rates.states(ADA) == [RateState("requests", 2, 1, 1.0)]
    rates.begin(ADA)
    with pytest.raises(RateLimited):
        rates.begin(ADA)


def test_the_one_user_of_a_server_without_jupyterhub_has_no_limits() -> None:
    rates, _ = limiter(requests_in_flight=1, tokens_per_minute=1)
    for _ in range(100):
        rates.begin(LOCAL).take_tokens(1000)
    assert rates.states(LOCAL) == []


def test_tokens_come_back_within_a_minute() -> None:
    rates, clock = limiter(tokens_per_minute=600)
    rates.begin(ADA).take_tokens(400)
    assert rates.states(ADA) == [RateState("tokens", 600, 200, 40.0)]
    clock.now += 10
    assert rates.states(ADA) == [RateState("tokens", 600, 300, 30.0)]
    clock.now += 1000
    assert rates.states(ADA) == [RateState("tokens", 600, 600, 0.0)]


def test_an_answer_that_took_more_than_was_left_is_a_debt() -> None:
    rates, clock = limiter(tokens_per_minute=60)
    rates.begin(ADA).take_tokens(90)
    with pytest.raises(RateLimited, match=r"the 60 tokens a minute .* Try again in 31 s") as caught:
        rates.begin(ADA)
    assert caught.value.headers == {"Retry-After": "31"}
    assert caught.value.body().error.type == "tokens"
    assert rates.states(ADA) == [RateState("tokens", 60, 0, 90.0)]
    rates.begin(BEN)
    clock.now += 30.5
    with pytest.raises(RateLimited):
        rates.begin(ADA)
    clock.now += 0.5
    rates.begin(ADA)


def test_users_who_owe_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_notebook.server.users.token_budgets._MANY_USERS", 10)
    clock = Clock()
    budgets = TokenBudgets(clock)
    budgets.take("debtor", 60, 1000)
    for number in range(50):
        budgets.take(f"user {number}", 60, 1)
        clock.now += 61
    assert len(budgets._budgets) <= 12
    assert budgets.left("debtor", 60) == 60  # 50 minutes later
