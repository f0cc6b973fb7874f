"""Requests of a burst begin together; a lone one waits a part of its own time at most."""

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


def test_a_lone_request_waits_as_long_as_it_may_and_then_for_those_that_came() -> None:
    gathering = Gathering()
    gathering.arrived(10.0)
    assert gathering.holds(preparing=False, now=10.001, alone=0.004)
    assert not gathering.holds(preparing=False, now=10.005, alone=0.004)
    gathering.arrived(11.0)
    assert gathering.holds(preparing=False, now=11.001, alone=0.004)
    gathering.arrived(11.003)
    assert gathering.holds(preparing=True, now=11.006)


def test_a_request_waits_for_one_that_is_being_prepared() -> None:
    gathering = Gathering()
    gathering.arrived(10.0)
    assert gathering.holds(preparing=True, now=10.5)
    assert not gathering.holds(preparing=True, now=10.53)
    assert not gathering.holds(preparing=False, now=10.54)
