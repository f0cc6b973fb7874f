"""Parameters of the query are checked, and their errors name them."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from mlx_notebook.server.api.http import query
from mlx_notebook.server.errors import InvalidRequest


class Asked:
    """A handler of which only the query is asked."""

    def __init__(self, text: str) -> None:
        self._arguments = parse_qs(text, keep_blank_values=True)

    def get_query_arguments(self, name: str) -> list[str]:
        return self._arguments.get(name, [])

    def get_query_argument(self, name: str, default: str) -> str:
        return [default, *self.get_query_arguments(name)][-1]


def asked(text: str) -> Any:
    return Asked(text)


@pytest.mark.parametrize(("text", "number"), [("", 20), ("limit=1", 1), ("limit=100", 100)])
def test_a_whole_number_within_its_bounds_is_taken(text: str, number: int) -> None:
    assert query.whole_number(asked(text), "limit", 20, 1, 100) == number


@pytest.mark.parametrize("value", ["0", "101", "1.5", " 5", "1_0", "٣", "", "x", "9" * 30])
def test_any_other_number_is_refused_with_its_bounds(value: str) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 100") as caught:
        query.whole_number(asked(f"limit={value}"), "limit", 20, 1, 100)
    assert caught.value.param == "limit"


def test_a_word_is_one_of_the_choices() -> None:
    assert query.one_of(asked(""), "order", "asc", ("asc", "desc")) == "asc"
    assert query.one_of(asked("order=desc"), "order", "asc", ("asc", "desc")) == "desc"
    with pytest.raises(InvalidRequest, match="'asc', 'desc'"):
        query.one_of(asked("order=up"), "order", "asc", ("asc", "desc"))


@pytest.mark.parametrize(
    ("text", "on"), [("", False), ("a=true", True), ("a=1", True), ("a=0", False)]
)
def test_a_flag_is_true_or_false(text: str, on: bool) -> None:
    assert query.flag(asked(text), "a") is on
    with pytest.raises(InvalidRequest):
        query.flag(asked("a=yes"), "a")


def test_a_list_is_given_in_either_form_and_its_wrong_part_is_named() -> None:
    assert query.several(asked("include=a&include[]=b"), "include", ("a", "b")) == ["a", "b"]
    with pytest.raises(InvalidRequest) as caught:
        query.several(asked("include=a&include=c"), "include", ("a", "b"))
    assert caught.value.param == "include[1]"


def test_a_page_begins_after_the_item_that_is_named() -> None:
    assert query.page_after([1, 2, 3], ["a", "b", "c"], "b", "item") == [3]
    assert query.page_after([1, 2, 3], ["a", "b", "c"], "", "item") == [1, 2, 3]
    with pytest.raises(InvalidRequest, match="no item 'd'"):
        query.page_after([1], ["a"], "d", "item")
