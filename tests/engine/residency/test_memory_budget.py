"""Which models are evicted for another one, from their sizes alone."""

from pathlib import Path

import pytest

from mlx_notebook.engine.errors import InsufficientMemory
from mlx_notebook.engine.residency.memory_budget import MemoryBudget
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import EngineConfig
from tests.engine.residency.weights import resident


def evicted(budget: MemoryBudget, need: int, *residents: ResidentModel) -> list[str]:
    by_name = {one.name: one for one in residents}
    footprint = Footprint(base=need, own=0, kv=0)
    return [one.name for one in budget.evictions("new", Path("new"), footprint, by_name)]


def budget(limit: int = 100, most: int = 0, prefixes: int = 0) -> MemoryBudget:
    return MemoryBudget(limit, most, prefixes)


def test_nothing_is_evicted_where_there_is_room() -> None:
    assert evicted(budget(), 40, resident("a", 30), resident("b", 30)) == []


def test_the_least_recently_used_model_is_evicted_first() -> None:
    a, b = resident("a", 40, used_at=2.0), resident("b", 40, used_at=1.0)
    assert evicted(budget(), 50, a, b) == ["b"]


def test_idle_models_are_evicted_before_busy_ones() -> None:
    busy, idle = resident("busy", 40, used_at=1.0), resident("idle", 40, used_at=2.0)
    busy.preparing.add("7")
    assert evicted(budget(), 50, busy, idle) == ["idle"]


def test_a_pinned_model_is_never_evicted() -> None:
    pinned, other = resident("pinned", 40, used_at=1.0), resident("other", 40, used_at=2.0)
    pinned.pinned = True
    assert evicted(budget(), 50, pinned, other) == ["other"]


def test_a_small_model_stays_if_the_large_one_has_to_go_anyway() -> None:
    small, large = resident("small", 10, used_at=1.0), resident("large", 80, used_at=2.0)
    assert evicted(budget(), 80, small, large) == ["large"]


def test_the_kv_cache_of_a_modest_batch_counts() -> None:
    assert evicted(budget(), 50, resident("a", 30, kv=30)) == ["a"]


def test_a_limit_on_the_number_of_models_evicts_too() -> None:
    assert evicted(budget(most=1), 1, resident("a", 1)) == ["a"]


def test_a_model_with_other_options_replaces_itself() -> None:
    a = resident("a", 10)
    footprint = Footprint(base=10, own=0, kv=0)
    assert budget().evictions("a", Path("a"), footprint, {"a": a}) == [a]


@pytest.mark.parametrize(("limit", "most", "told"), [(50, 0, "budget"), (500, 1, "max_resident")])
def test_what_cannot_fit_beside_pinned_models_is_refused(limit: int, most: int, told: str) -> None:
    pinned = resident("pinned", 40)
    pinned.pinned = True
    with pytest.raises(InsufficientMemory, match=told):
        evicted(budget(limit, most), 20, pinned)


def test_the_prefix_cache_gets_what_models_leave() -> None:
    footprint = Footprint(base=20, own=0, kv=10)
    left = budget(prefixes=50).left_for_prefixes(Path("new"), footprint, [resident("a", 40)])
    assert left == 100 + 50 - 40 - 30


def test_limits_in_the_settings_are_for_all_ranks_together() -> None:
    settings = EngineConfig(memory_budget=1_000_000, prefix_cache_bytes=600)
    both = MemoryBudget.of(settings, memory=10_000_000, ranks=2)
    assert (both.limit, both.prefix_bytes) == (500_000, 300)
    default = MemoryBudget.of(EngineConfig(), memory=10_000_000, ranks=2)
    alone = MemoryBudget.of(EngineConfig(), memory=10_000_000)
    assert (default.limit, default.prefix_bytes) == (alone.limit, alone.prefix_bytes)


def test_a_model_that_does_not_fit_on_two_ranks_is_told_as_a_whole(tmp_path: Path) -> None:
    budget = MemoryBudget.of(EngineConfig(memory_budget=2_000_000_000), ranks=2)
    need = Footprint(base=3_000_000_000, own=0, kv=0).on_rank(2)
    with pytest.raises(InsufficientMemory, match=r"it needs 3\.0 GB .* budget .* is 2\.0 GB"):
        budget.evictions("m", tmp_path, need, {})
