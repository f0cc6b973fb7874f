"""A few seconds of `python -m benchmarks.workloads.classroom`: nothing is lost, all is counted."""

import asyncio
from pathlib import Path

from benchmarks.workloads.classroom import (
    BESIDE,
    CROWDED,
    THINKING,
    growth,
    jain,
    measure,
    plot,
    render,
)


def test_every_request_of_a_small_class_ends_as_it_should(tmp_path: Path) -> None:
    found = asyncio.run(measure(minutes=4 / 60, users=6, think=0.2, seed=1))
    assert found["problems"] == []
    for phase in (THINKING, BESIDE, CROWDED):
        of = found["phases"][phase]
        assert of["fates"].pop("finished") >= 5
        assert {fate for fate in of["fates"] if not fate.startswith("429 ")} == set()
        assert (of["greedy_to_median"] is None) == (phase == THINKING)
    assert "| a class |" in render(found)
    plot(found, tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 0


def test_jains_index_is_one_for_equal_values_and_a_part_for_one_that_has_all() -> None:
    assert jain([3, 3, 3, 3]) == 1.0
    assert jain([4, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 0.0


def test_growth_compares_the_last_quarter_with_the_second() -> None:
    memory = [{"server": float(value)} for value in (0, 0, 10, 10, 12, 12, 17, 17)]
    assert growth(memory, "server") == 7.0
    assert growth(memory[:3], "server") == 0.0
