"""The memory that jobs hold: which models are evicted for it, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from mlx_notebook.engine.errors import EvictionRefused, InsufficientMemory
from mlx_notebook.engine.residency.memory_budget import MemoryBudget
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.model_files.footprint import Footprint
from tests.engine.residency.weights import resident


def evicted(size: int, *residents: ResidentModel, may_evict: bool = True) -> list[str]:
    budget = MemoryBudget(100, 0, 0)
    by_name = {one.name: one for one in residents}
    return [one.name for one in budget.evictions_for_job("job", size, by_name, may_evict=may_evict)]


def test_idle_and_old_models_make_room_for_a_job() -> None:
    busy = resident("busy", 30, used_at=1.0)
    busy.preparing.add("7")
    models = busy, resident("old", 30, used_at=2.0), resident("new", 30, used_at=3.0)
    assert evicted(10, *models) == []
    assert evicted(20, *models) == ["old"]
    assert evicted(60, *models) == ["old", "new"]
    assert evicted(100, *models) == ["old", "new", "busy"]


def test_a_job_that_does_not_fit_is_told_how_much_is_missing() -> None:
    pinned = resident("pinned", 40)
    pinned.pinned = True
    with pytest.raises(InsufficientMemory, match="10 bytes are missing") as refused:
        evicted(70, pinned)
    assert "pinned models hold 40 bytes" in refused.value.message


def test_who_may_not_swap_models_gets_no_memory_of_theirs() -> None:
    with pytest.raises(EvictionRefused, match="memory of a"):
        evicted(90, resident("a", 30), may_evict=False)


def test_a_model_does_not_get_the_memory_of_a_job() -> None:
    budget = dataclasses.replace(MemoryBudget(100, 0, 0), reserved=70)
    small, large = Footprint(base=30, own=0, kv=0), Footprint(base=40, own=0, kv=0)
    assert budget.evictions("small", Path("small"), small, {}) == []
    with pytest.raises(InsufficientMemory, match=r"jobs \(%mlx jobs lists them\) hold 70 bytes"):
        budget.evictions("large", Path("large"), large, {})
    assert budget.left_beside([resident("a", 10)]) == 20
