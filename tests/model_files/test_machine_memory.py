"""The memory of the machine, as containers limit it, and the share of it that models get."""

from pathlib import Path

import pytest

from mlx_notebook.model_files.machine_memory import (
    cgroup_limits,
    default_memory_budget,
    estimate_memory_budget,
    format_bytes,
    full_precision,
    main_memory,
)


def test_the_limits_of_a_control_group_and_its_parents_are_found(tmp_path: Path) -> None:
    groups, tree = tmp_path / "cgroup", tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/memory.max").write_text("4000\n")
    (tree / "a/b/memory.max").write_text("max\n")
    groups.write_text("0::/a/b\n")
    assert list(cgroup_limits(groups, tree)) == [4000]


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    groups, tree = tmp_path / "cgroup", tmp_path / "tree"
    (tree / "memory/a").mkdir(parents=True)
    (tree / "memory/a/memory.limit_in_bytes").write_text("5000")
    groups.write_text("3:cpu:/a\n4:memory:/a\n")
    assert list(cgroup_limits(groups, tree)) == [5000]


def test_models_get_a_part_of_the_memory() -> None:
    assert default_memory_budget(1000, gpu=True) == 850
    assert default_memory_budget(1000, gpu=False) == 600
    assert 0 < estimate_memory_budget() < main_memory()


def test_an_engine_on_the_cpu_computes_in_full_precision() -> None:
    assert full_precision("Device(cpu, 0)")
    assert not full_precision("Device(gpu, 0)")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2e6, "2.0 MB"), (3.21e9, "3.2 GB")],
)
def test_bytes_are_written_for_people(count: float, text: str) -> None:
    assert format_bytes(count) == text
