"""Models that run side by side get equal time."""

from itertools import pairwise

from mlx_notebook.engine.scheduling.fair_share import FairShare


def run(share: FairShare, costs: dict[str, float], total: float) -> dict[str, float]:
    spent = dict.fromkeys(costs, 0.0)
    while sum(spent.values()) < total:
        name = share.next(costs.keys())
        share.charge(name, costs[name])
        spent[name] += costs[name]
    return spent


def test_a_cheap_step_comes_more_often_than_a_dear_one() -> None:
    spent = run(FairShare(), {"small": 0.001, "large": 0.5}, 20.0)
    assert abs(spent["small"] - spent["large"]) <= 0.5 + 0.03


def test_a_turn_lasts_some_steps() -> None:
    share = FairShare()
    order = []
    for _ in range(80):
        order.append(share.next(["a", "b"]))
        share.charge(order[-1], 0.001)
    assert sum(x != y for x, y in pairwise(order)) == 3


def test_who_was_away_has_no_time_saved_up() -> None:
    share = FairShare()
    run(share, {"a": 0.01, "b": 0.01}, 2.0)
    run(share, {"a": 0.01}, 10.0)
    spent = run(share, {"a": 0.01, "b": 0.01}, 2.0)
    assert abs(spent["a"] - spent["b"]) <= 0.04
