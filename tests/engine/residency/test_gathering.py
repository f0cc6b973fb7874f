"""Requests of a burst begin together; a lone one begins at once."""

from mlx_notebook.engine.residency.gathering import Gathering


def test_a_lone_request_does_not_wait() -> None:
    gathering = Gathering()
    gathering.arrived(10.0)
    assert not gathering.holds(preparing=False, now=10.0)
    gathering.arrived(11.0)
    assert not gathering.holds(preparing=False, now=11.0)


def test_requests_of_a_burst_wait_for_each_other_but_not_for_long() -> None:
    gathering = Gathering()
    for now in (10.0, 10.001):
        gathering.arrived(now)
    assert gathering.holds(preparing=False, now=10.002)
    assert not gathering.holds(preparing=False, now=10.007)  # nobody came any more
    gathering.arrived(10.008)
    assert gathering.holds(preparing=True, now=10.009)
    for _ in range(20):
        gathering.arrived(10.028)
    assert gathering.holds(preparing=True, now=10.028)
    assert not gathering.holds(preparing=True, now=10.03)


def test_a_request_waits_for_one_that_is_being_prepared() -> None:
    gathering = Gathering()
    gathering.arrived(10.0)
    assert gathering.holds(preparing=True, now=10.5)
    assert not gathering.holds(preparing=True, now=10.53)
    assert not gathering.holds(preparing=False, now=10.54)
