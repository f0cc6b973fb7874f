"""Prompt lookup drafts what followed earlier, and knows how good its drafts are."""

import random

import pytest

from mlx_notebook.engine.speculative.prompt_lookup import RowLookup


def following(prompt: list[int], count: int, newest: int | None = None) -> list[int]:
    return RowLookup(prompt, 16).draft(count, newest)


def test_a_draft_is_what_followed_the_latest_occurrence() -> None:
    assert following([1, 2, 3, 4, 5, 1, 2, 3, 9, 7, 1, 2, 3], 3) == [9, 7, 1]
    assert following([1, 2, 3, 4, 5], 3) == []
    assert following([8, 2, 3, 4, 9, 2], 3) == []
    assert following([8, 2, 3, 4, 7, 2, 3], 2) == [4, 7]  # two tokens are enough
    assert following([6, 2, 3, 4, 8, 2, 3, 5, 6, 2, 3], 1) == [4]  # three are better


def test_the_newest_token_may_be_known_to_the_caller_alone() -> None:
    assert following([1, 2, 3, 4, 5, 1, 2], 3, newest=3) == [4, 5, 1]
    assert following([1, 2, 3, 4, 5, 1, 2, 3], 3, newest=4) == [5, 1, 2]
    assert following([1, 2, 3, 4, 5, 1, 2, 3], 3, newest=9) == []
    lookup = RowLookup([1, 2, 3, 4, 5, 1, 2], 8)
    assert lookup.draft(2, newest=3) == lookup.draft(2, newest=3) == [4, 5]
    lookup.extend([3])
    assert lookup.draft(2) == [4, 5]


def test_a_match_that_the_newest_token_ends_is_followed_by_a_good_one_only() -> None:
    page = list(range(40))
    lookup = RowLookup([*page, *page[10:20]], 8)
    lookup.extend(page[20:22])
    assert lookup.draft(2, newest=22) == [23, 24]
    # 21, 30 never occurred; a pair that did is no good at first.
    assert lookup.draft(2, newest=30) == []
    lookup = RowLookup([21, 5, 6, *page, *page[10:20]], 8)
    lookup.extend(page[20:22])
    assert lookup.draft(2, newest=5) == []


@pytest.mark.parametrize("newest", [None, 3])
def test_a_repetition_is_repeated(newest: int | None) -> None:
    known = [1, 2, 3, 1, 2] if newest else [1, 2, 3, 1, 2, 3]
    assert following(known, 7, newest) == [1, 2, 3, 1, 2, 3, 1]
    assert following([7, 7, 7, 7], 4) == [7, 7, 7, 7]


def test_a_draft_is_not_longer_than_asked_or_allowed() -> None:
    assert following([1, 2, 1, 2], 0) == []
    assert len(RowLookup([1, 2, 1, 2], 5).draft(9)) == 5
    assert RowLookup([], 5).draft(3) == RowLookup([], 5).draft(3, newest=1) == []


def test_drafts_come_from_the_answer_as_well() -> None:
    lookup = RowLookup([50, 51], 8)
    lookup.extend([1, 2, 3, 4, 5])
    lookup.extend([1, 2])
    assert lookup.draft(3) == [3, 4, 5]


def test_a_prompt_of_any_length_is_indexed_in_parts() -> None:
    rng = random.Random(1)
    prompt = [rng.randrange(1000) for _ in range(30_000)]
    lookup = RowLookup(prompt, 8)
    asked = [*prompt[200:203], 7777]
    assert RowLookup([*prompt, *prompt[29_000:29_003]], 8).draft(2) == prompt[29_003:29_005]
    for token in range(2000, 2020):
        lookup.extend([token])
    lookup.extend(asked[:3])
    assert lookup.draft(3) == prompt[203:206]
    # The newest part goes first, and nothing is counted twice.
    again = RowLookup(prompt[:3] * 3 + prompt + prompt[:3], 8)
    again.extend([2000])
    again.extend(prompt[:3])
    assert len(again.draft(1)) == 1


def test_memory_is_bounded() -> None:
    rng = random.Random(2)
    lookup = RowLookup([rng.randrange(50_000) for _ in range(100_000)], 8)
    for _ in range(60):
        lookup.extend([rng.randrange(50_000) for _ in range(5_000)])
    assert len(lookup._prompt) < 140_000
    assert len(lookup._older) + len(lookup._recent) < 290_000


def test_nothing_is_expected_without_a_match() -> None:
    assert RowLookup([1, 2, 3], 8).expected(4) == 0.0


def test_more_is_expected_the_longer_a_match_has_been_right() -> None:
    page = list(range(100, 160))
    lookup = RowLookup([*page, 1, 2, 3], 15)
    seen = []
    for token in page:
        lookup.extend([token])
        seen.append(lookup.expected(7))
    assert seen[0] == 0.0
    assert 0.2 < seen[1] < 3
    assert seen[2] < seen[10] < seen[40]
    assert 5 < seen[40] <= 7
    assert lookup.expected(1) < lookup.expected(3) < lookup.expected(15) <= 15


def test_little_is_expected_of_matches_that_were_wrong() -> None:
    rng = random.Random(4)
    lookup = RowLookup([], 8)
    for _ in range(2_000):
        # Pairs come again and again; what follows them does not.
        lookup.extend([1, 2, rng.randrange(5_000)])
    lookup.extend([1, 2])
    assert lookup.draft(1)
    assert lookup.expected(7) < 0.2


def test_the_outcome_of_drafts_counts() -> None:
    page = list(range(60))
    lookup = RowLookup([*page, *page[:40]], 8)
    lookup.extend(page[40:50])
    before = lookup.expected(7)
    for _ in range(3):
        assert lookup.draft(7) == page[50:57]
        lookup.verified(7, 0)
    assert lookup.expected(7) < 0.5 * before
    # It is forgotten with time.
    lookup.extend([*page[50:], *page, *page, *page][:150])
    for token in page[30:50] * 5:
        lookup.extend([token])
    assert lookup.expected(7) > 0.8 * before
