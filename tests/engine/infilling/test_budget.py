"""How the text around a gap is cut to a number of tokens. Here a word is a token."""

import pytest

from mlx_notebook.engine.infilling.budget import first_part, last_part, nearest


def words(text: str) -> int:
    return len(text.split())


def numbered(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(count))


def test_a_text_that_fits_is_whole() -> None:
    assert last_part(numbered(4), 8, words) == numbered(4)
    assert first_part(numbered(4), 8, words) == numbered(4)


def test_whole_lines_are_cut_at_the_far_end() -> None:
    assert last_part(numbered(10), 8, words) == "line 6\nline 7\nline 8\nline 9\n"
    assert first_part(numbered(10), 8, words) == "line 0\nline 1\nline 2\nline 3\n"


def test_the_cut_moves_in_steps_and_not_with_every_key() -> None:
    typed = [numbered(100) + "x " * count for count in range(24)]
    starts = [last_part(text, 100, words).split("\n")[0] for text in typed]
    assert len(set(starts)) <= 2
    assert all(words(last_part(text, 100, words)) <= 100 for text in typed)


@pytest.mark.parametrize("cut", [last_part, first_part])
def test_a_line_that_is_too_long_is_cut_itself(cut) -> None:
    assert 0 < len(cut("x " * 1000, 40, words)) <= 40


def test_the_nearest_texts_are_chosen_and_keep_their_order() -> None:
    texts = ["a a a", "b b", "c"]
    assert nearest(texts, 3, words) == ["b b", "c"]
    assert nearest(texts, 6, words) == texts
    assert nearest(texts, 0, words) == []


def test_of_the_nearest_text_the_end_is_used_if_it_is_too_long() -> None:
    assert nearest([numbered(3), numbered(10)], 8, words) == ["line 6\nline 7\nline 8\nline 9\n"]
