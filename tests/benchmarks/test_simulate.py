"""The simulator counts what it says, and every policy serves every trace."""

import subprocess
import sys

import pytest

from benchmarks.engine.simulate import (
    DEVICES,
    Costs,
    Fixed,
    Prompt,
    Shipped,
    choosers,
    outcome,
    simulate,
    traces,
)
from benchmarks.harness.contenders import ROOT
from mlx_notebook.engine.batching.prefill_policy import PrefillLimits

COSTS = Costs(launch=1.0, step=2.0, shape=0.0, token=0.1, row=0.5)


def test_one_prompt_costs_its_chunks_and_its_steps():
    found = simulate(COSTS, Fixed(1, 100), [Prompt(3.0, 150, 4)])
    # Two chunks: 1 + 10 and 1 + 5 seconds; a step takes 2.5.
    assert found.first == pytest.approx(17 + 2.5)
    assert found.total == pytest.approx(17 + 4 * 2.5)
    assert found.pause == pytest.approx(2.5)


def test_prompts_of_one_group_are_padded_to_the_longest():
    found = simulate(COSTS, Fixed(8, 100), [Prompt(0.0, 10, 1), Prompt(0.0, 20, 1)])
    # The first chunk computes 10 and 20 tokens, padded: 1 + 0.1 * 2 * 20. Then one step of two.
    assert found.total == pytest.approx(5 + 3)


def test_running_rows_wait_for_a_chunk():
    found = simulate(COSTS, Fixed(1, 100), [Prompt(0.0, 10, 20), Prompt(5.0, 100, 1)])
    # The chunk, and the step of two rows after it.
    assert found.pause == pytest.approx(11 + 3)


def test_a_burst_makes_fewer_steps_if_its_rows_wait_for_each_other():
    costs = Costs(launch=0.0, step=1.0, shape=0.0, token=0.01, row=0.0)
    limits = PrefillLimits(rows=1, pause=0.1)
    trace = [Prompt(0.0, 100, 20), Prompt(0.0, 100, 20)]
    # The second prompt takes a second: 20 steps, and one more for the row that was there first.
    assert simulate(costs, Shipped(limits, guess=100.0), trace).total == pytest.approx(2 + 21)


def test_a_shape_costs_only_when_it_is_new():
    costs = Costs(launch=1.0, step=2.0, shape=50.0, token=0.0, row=0.0)
    again = simulate(costs, Fixed(1, 100), [Prompt(0.0, 10, 2), Prompt(0.0, 10, 2)])
    # Chunks of 10 tokens, and steps of one row: two shapes, though both come twice.
    other = simulate(costs, Fixed(1, 100), [Prompt(0.0, 10, 2), Prompt(0.0, 20, 2)])
    assert other.total - again.total == pytest.approx(50.0)


def test_the_figures_are_those_of_the_tokens():
    one = Prompt(1.0, 0, 3, times=[2.0, 3.0, 7.0])
    other = Prompt(0.0, 0, 1, times=[9.0])
    found = outcome([one, other])
    assert (found.total, found.first, found.first_p95, found.pause) == (9.0, 5.0, 9.0, 4.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", traces())
def test_every_policy_serves_every_trace(device, name):
    costs, trace = DEVICES[device], traces()[name]
    least = costs.token * sum(prompt.left for prompt in trace)
    for chooser in choosers(costs).values():
        found = simulate(costs, chooser, trace)
        assert found.total > least
        assert 0 < found.first <= found.first_p95 <= found.total
    # The trace itself is as before.
    assert trace == traces()[name]


def test_the_shipped_policy_bounds_the_pause_where_a_fixed_chunk_does_not():
    costs = Costs(launch=0.001, step=0.01, shape=0.0, token=1e-3, row=0.0)
    trace = traces()["16,000 tokens join 8 streams"]
    limits = PrefillLimits(pause=0.25)
    bounded = simulate(costs, Shipped(limits, guess=1000.0), trace)
    fixed = simulate(costs, Fixed(8, 2048), trace)
    assert bounded.pause < 0.25 + 0.05
    assert fixed.pause > 2.0


def test_the_command_prints_a_row_for_each_policy_and_trace():
    command = [sys.executable, "-m", "benchmarks.engine.simulate", "--device", "gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(traces()) * len(choosers(DEVICES["gpu"]))
