"""The engine's statistics over restarts and over time."""

import msgspec
from prometheus_client import REGISTRY

from mlx_notebook.protocol import DiskWrites, Memory, ModelOptions, Resident, Stats, Totals
from mlx_notebook.server.telemetry.engine_telemetry import EngineTelemetry

STATS = Stats([], [], [], Totals(), Memory(1, 2, 3, 4, 5), 0.0, 0.0, 100)


def stats(**changes: object) -> Stats:
    return msgspec.structs.replace(STATS, **changes)


def test_totals_go_on_after_a_restart_and_unfinished_requests_have_failed() -> None:
    telemetry = EngineTelemetry()
    telemetry.update(stats(totals=Totals(requests=5, finished=2, cancelled=1, prompt_tokens=70)))
    telemetry.engine_ended()
    assert telemetry.stats is None
    telemetry.update(stats(totals=Totals(requests=1, finished=1, prompt_tokens=7)))
    totals = telemetry.totals
    assert (totals.requests, totals.finished, totals.cancelled, totals.failed) == (6, 3, 1, 2)
    assert totals.prompt_tokens == 77


def test_bytes_on_disk_are_counted_over_restarts() -> None:
    def counted() -> tuple[float, float]:
        names = ("written", "skipped")
        values = [
            REGISTRY.get_sample_value(f"mlx_notebook_prefix_disk_{name}_bytes_total")
            for name in names
        ]
        return values[0] or 0.0, values[1] or 0.0

    telemetry = EngineTelemetry()
    before = counted()
    telemetry.update(stats(disk=DiskWrites(100, 50, 5, 50, 5)))
    assert telemetry.update(stats(disk=DiskWrites(100, 10, 5, 70, 5)))
    assert telemetry.disk.written == 10
    telemetry.engine_ended()
    assert telemetry.disk == DiskWrites()
    telemetry.update(stats(disk=DiskWrites(100, 4, 3, 4, 3)))
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [74, 8]


def test_the_size_of_the_process_alone_is_no_change() -> None:
    telemetry = EngineTelemetry()
    assert telemetry.update(STATS)
    assert not telemetry.update(stats(memory=Memory(1, 2, 30, 40, 5)))
    assert telemetry.update(stats(memory=Memory(9, 2, 3, 4, 5)))
    assert telemetry.update(stats(loading=["model"]))


def test_without_an_engine_nothing_is_resident_and_no_memory_is_used() -> None:
    telemetry = EngineTelemetry()
    assert telemetry.resident == {}
    assert telemetry.memory == Memory(0, 0, 0, 0, 0)
    model = Resident("model", 1, 2, 0.0, 0.0, 0, False, False, "/model", ModelOptions())
    telemetry.update(stats(resident=[model]))
    assert telemetry.resident == {"model": model}
    telemetry.engine_ended()
    assert telemetry.resident == {}


def test_a_history_of_equal_points_is_at_rest() -> None:
    telemetry = EngineTelemetry()
    for _ in range(130):
        telemetry.sample(0)
    assert len(telemetry.history) == 120
    assert not telemetry.is_moving
    telemetry.sample(1)
    assert telemetry.is_moving
