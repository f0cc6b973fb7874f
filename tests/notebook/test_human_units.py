"""Sizes, counts and durations as people read them."""

from mlx_notebook.notebook.human_units import format_bytes, format_duration, plural


def test_sizes_have_the_unit_that_fits():
    sizes = (0, 999, 1000, 1_234_567, 12_345_678_901)
    assert [format_bytes(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "12.3 GB",
    ]  # fmt: skip


def test_counts_have_their_plural():
    assert [plural(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_durations_have_two_units_at_most():
    assert [format_duration(seconds) for seconds in (5.9, 65, 3660)] == [
        "5 s", "1 min 5 s", "1 h 1 min",
    ]  # fmt: skip
