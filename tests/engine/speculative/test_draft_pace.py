"""The pace of drafts: as fast as the text allows, and hardly slower where it allows nothing."""

import random
from collections.abc import Callable, Iterator

import pytest

from mlx_notebook.engine.speculative.draft_pace import WIDTHS, DraftPace
from mlx_notebook.engine.speculative.prompt_lookup import RowLookup

Text = Callable[[random.Random], Iterator[int]]


def repetitive(rng: random.Random) -> Iterator[int]:
    """A page of 60 tokens again and again, with one token changed now and then."""
    page = [rng.randrange(5_000) for _ in range(60)]
    while True:
        yield from page
        page[rng.randrange(60)] = rng.randrange(5_000)


def other(rng: random.Random) -> Iterator[int]:
    """Words as frequent as those of a language, without an order."""
    while True:
        yield int(rng.paretovariate(0.7)) % 5_000


def alternating(rng: random.Random) -> Iterator[int]:
    """Now one, now the other."""
    again, new = repetitive(rng), other(rng)
    while True:
        for source in (again, new):
            for _ in range(200):
                yield next(source)


def speed(
    text: Text, slope: float, rows: int = 1, tokens: int = 3_000, extra: float = 0.0
) -> float:
    """Return the speed of a simulated batch, as a ratio to that of plain steps.

    A step with drafts that feeds `width` tokens per row takes `1 + extra + slope * (width - 1)`,
    and sometimes longer.
    The first step of each width takes twenty times as long: it compiles.
    """
    rng = random.Random(7)
    sources = [text(random.Random(seed)) for seed in range(rows)]
    lookups = [RowLookup([next(source) for _ in range(100)], 15) for source in sources]
    ahead: list[list[int]] = [[next(source) for _ in range(20)] for source in sources]
    pace, took, got = DraftPace(), 0.0, 0
    compiled: set[int] = set()
    while got < tokens * rows:
        count = pace.width(lambda n: [lookup.expected(n) for lookup in lookups], rows)
        disturbed = 1 + 0.2 * rng.random() ** 4
        given = []
        for lookup, coming in zip(lookups, ahead, strict=True):
            draft = lookup.draft(count) if count else []
            right = 0
            while right < len(draft) and draft[right] == coming[right]:
                right += 1
            if count:
                lookup.verified(len(draft), right)
            given.append(coming[: right + 1])
        made = sum(map(len, given))
        if count:
            assert count + 1 in WIDTHS
            seconds = (1 + extra + slope * count) * disturbed
            pace.verified(rows, count + 1, seconds * (1 if count in compiled else 20), made)
            compiled.add(count)
        else:
            seconds = disturbed
            pace.plain(rows, seconds)
        for lookup, coming, new, source in zip(lookups, ahead, given, sources, strict=True):
            lookup.extend(new)
            del coming[: len(new)]
            coming.extend(next(source) for _ in new)
        took, got = took + seconds, got + made
    return got / rows / took * 1.04


@pytest.mark.parametrize(("slope", "least"), [(0.02, 4.0), (0.1, 2.5), (0.3, 1.5)])
def test_repetitive_text_is_much_faster(slope: float, least: float) -> None:
    assert speed(repetitive, slope) > least


@pytest.mark.parametrize(("extra", "least"), [(0.5, 3.0), (1.0, 2.5), (2.0, 2.0)])
def test_where_a_step_with_drafts_is_dear_wide_ones_are_found(extra: float, least: float) -> None:
    assert speed(repetitive, 0.02, extra=extra) > least
    assert speed(other, 0.02, extra=extra) > 0.98


@pytest.mark.parametrize("slope", [0.02, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("rows", [1, 4])
def test_other_text_is_hardly_slower(slope: float, rows: int) -> None:
    assert speed(other, slope, rows) > 0.98


@pytest.mark.parametrize("slope", [1.0, 1.5])
def test_where_drafts_cannot_pay_they_are_hardly_made(slope: float) -> None:
    assert speed(repetitive, slope) > 0.98


def test_drafts_come_and_go_with_the_text() -> None:
    assert speed(alternating, 0.1) > 1.3


def test_rows_of_a_batch_share_a_pace() -> None:
    assert speed(repetitive, 0.1, rows=4, tokens=1_500) > 2


def sure(count: int) -> list[float]:
    return [float(count)]


def ready() -> DraftPace:
    pace = DraftPace()
    for _ in range(3):
        pace.plain(1, 0.01)
    return pace


def test_nothing_is_drafted_before_plain_steps_are_known() -> None:
    pace = DraftPace()
    pace.plain(1, 0.01)
    assert pace.width(sure, 1) == 0
    assert ready().width(sure, 1) == 1
    assert ready().width(sure, 2) == 0


def test_nothing_is_drafted_without_hope() -> None:
    assert ready().width(lambda count: [0.0], 1) == 0


def test_the_width_that_pays_best_is_found() -> None:
    for slope, best in ((0.01, 15), (1.2, 0)):
        pace = ready()
        for _ in range(200):
            count = pace.width(sure, 1)
            if count:
                pace.verified(1, count + 1, 0.01 * (1 + slope * count), count + 1)
            else:
                pace.plain(1, 0.01)
        assert pace.width(sure, 1) == best


def test_a_slow_first_step_does_not_decide() -> None:
    pace = ready()
    assert pace.width(sure, 1) == 1
    pace.verified(1, 2, 5.0, 2)
    counts = []
    for _ in range(100):
        counts.append(pace.width(sure, 1))
        if counts[-1]:
            pace.verified(1, counts[-1] + 1, 0.01, counts[-1] + 1)
        else:
            pace.plain(1, 0.01)
    assert max(counts) == 15


def test_a_step_between_two_widths_counts_as_the_longer_one() -> None:
    pace = ready()
    for _ in range(4):
        pace.verified(1, 7, 0.01 * (1 + 0.1 * 6), 7)
    seen = set()
    for _ in range(60):
        count = pace.width(lambda count: [0.9 * min(count, 6)], 1)
        seen.add(count)
        if count:
            pace.verified(1, min(count, 6) + 1, 0.01 * (1 + 0.1 * min(count, 6)), 7)
        else:
            pace.plain(1, 0.01)
    assert max(seen) == 7


def test_losses_end_the_drafts_for_a_while() -> None:
    pace, drafted = ready(), 0
    for _ in range(2_000):
        count = pace.width(sure, 1)
        if count:
            drafted += 1
            pace.verified(1, count + 1, 0.02, 1)
        else:
            pace.plain(1, 0.01)
    assert 2 <= drafted < 40
