import pytest

from mlx_notebook.engine.kv_cache.disk.write_limit import WriteLimit
from mlx_notebook.protocol import DiskWrites


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_within_an_hour_no_more_is_written_than_the_limit(clock: Clock) -> None:
    limit = WriteLimit(100, clock)
    assert limit.take(60)
    assert not limit.take(50)
    assert limit.take(40)
    assert not limit.take(1)
    assert limit.status == DiskWrites(100, 100, 51, 100, 51)


def test_the_window_moves_with_the_time(clock: Clock) -> None:
    limit = WriteLimit(100, clock)
    written: list[tuple[float, int]] = []
    for minute in range(200):
        clock.now = 1000 + 60.0 * minute + 13 * (minute % 3)
        if limit.take(7):
            written.append((clock.now, 7))
        within = sum(size for at, size in written if at > clock.now - 3600)
        assert within <= 100
    assert len(written) > 2 * (100 // 7)
    clock.now += 3700
    assert limit.status.written == limit.status.skipped == 0
    assert limit.status.total_written == 7 * len(written)


def test_zero_is_no_limit(clock: Clock) -> None:
    limit = WriteLimit(0, clock)
    assert all(limit.take(10**12) for _ in range(5))
    assert limit.status.skipped == 0
