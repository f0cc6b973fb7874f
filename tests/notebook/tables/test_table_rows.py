"""What `map` reads and returns: DataFrames, Series, lists, iterators."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import pandas
import polars
import pytest
from pydantic import BaseModel

from mlx_notebook.notebook.errors import NotATable, NotebookError
from mlx_notebook.notebook.schemas.reply_schema import response_format
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.map_progress import MapState
from mlx_notebook.notebook.tables.table_rows import Table, column_kinds


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Inner:
    a: int


class Order(BaseModel):
    item: str
    quantity: int
    price: float | None = None
    paid: bool
    size: Size
    kind: Literal["tea", "soup"]
    parts: list[str]
    inner: Inner


KINDS = {
    "item": str,
    "quantity": int,
    "price": float,
    "paid": bool,
    "size": ["small", "large"],
    "kind": ["tea", "soup"],
    "parts": object,
    "inner": object,
}


def kinds(schema):
    return column_kinds(response_format(schema)["json_schema"]["schema"])


def test_the_columns_are_the_fields_of_the_type():
    assert kinds(Order) == KINDS
    assert kinds(Inner) == {"a": int}
    assert kinds(Literal["yes", "no"]) == {"answer": ["yes", "no"]}
    assert kinds({"type": "array", "items": {"type": "integer"}}) == {"answer": object}


def test_rows_of_a_frame_have_the_columns_by_name():
    for frame in (
        pandas.DataFrame({"a b": ["x", "y"], "n": [1, 2]}, index=[7, 7]),
        polars.DataFrame({"a b": ["x", "y"], "n": [1, 2]}),
    ):
        table = Table(frame)
        rows = list(table.rows())
        assert table.count == 2
        assert rows[1].value == {"a b": "y", "n": 2}
        assert rows[1].lookup("a b") == "y"
        with pytest.raises(NotATable, match="there is no 'b'; there is a b, n"):
            rows[1].lookup("b")


def test_elements_have_the_name_of_their_series_too():
    for series in (pandas.Series(["x"], name="text"), polars.Series("text", ["x"])):
        (row,) = Table(series).rows()
        assert row.value == row.lookup("value") == row.lookup("text") == "x"
    (row,) = Table([{"k": 1}]).rows()
    assert row.lookup("k") == 1
    assert Table(iter("ab")).count is None


@pytest.mark.parametrize("data", [5, "text", b"bytes", {"a": [1]}, None])
def test_other_objects_are_refused(data):
    with pytest.raises(NotATable, match="map needs a DataFrame, a Series, a list or an iterator"):
        Table(data)


def test_results_have_the_index_of_the_data_and_typed_columns():
    values = {"quantity": [1, None], "size": ["small", None], "paid": [True, None]}
    data = pandas.DataFrame({"x": [1, 2]}, index=["p", "q"])
    made = Table(data).columns(values, KINDS)
    assert list(made.index) == ["p", "q"]
    assert [str(dtype) for dtype in made.dtypes] == ["Int64", "category", "boolean"]
    assert list(made["size"].cat.categories) == ["small", "large"]
    texts = Table(data["x"]).texts(["a", None])
    assert list(texts.index) == ["p", "q"]
    assert list(texts.isna()) == [False, True]
    made = Table(polars.Series([1, 2])).columns(values, KINDS)
    assert made.schema == {
        "quantity": polars.Int64,
        "size": polars.Enum(["small", "large"]),
        "paid": polars.Boolean,
    }
    assert Table(polars.Series([1, 2])).texts(["a", None]).to_list() == ["a", None]
    assert list(Table([1, 2]).texts(["a", "b"])) == ["a", "b"]


def test_without_pandas_results_are_plain_lists(monkeypatch):
    monkeypatch.setattr("mlx_notebook.notebook.tables.table_rows.find_spec", lambda name: None)
    assert Table([1, 2]).texts(["a", None]) == ["a", None]
    assert Table([1]).columns({"a": [1]}, {"a": int}) == [{"a": 1}]


def test_answers_are_kept_in_a_private_file(tmp_path):
    file = tmp_path / "deep" / "answers.sqlite"
    key = AnswerCache.key("model", {"b": 1, "a": [2]})
    assert key == AnswerCache.key("model", {"a": [2], "b": 1})
    assert key != AnswerCache.key("model", {"a": [3], "b": 1})
    with AnswerCache(file) as cache:
        assert cache.get(key) is None
        cache.put(key, {"text": "ä", "tokens": 3})
    assert file.stat().st_mode & 0o77 == 0
    with AnswerCache(file) as cache:
        assert cache.get(key) == {"text": "ä", "tokens": 3}


def test_the_oldest_answers_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr("mlx_notebook.notebook.tables.answer_cache._MOST_ANSWERS", 2)
    with AnswerCache(tmp_path / "a") as cache:
        for name in "abc":
            cache.put(name, {"text": name, "tokens": 1})
    with AnswerCache(tmp_path / "a") as cache:
        assert [cache.get(name) is not None for name in "abc"] == [False, True, True]


def test_progress_estimates_after_twenty_rows():
    state = MapState(100)
    for number in range(19):
        state.add(f"text {number}", 10, error=None, cached=False)
    assert state.line() == "map: 19 of 100 rows"
    state.add(None, 0, error="it broke", cached=False)
    assert "left" in state.line()
    assert "about 950 tokens in all, 1 failed" in state.line()
    assert state.first == ["text 0", "text 1", "text 2"]
    state.add("kept", 5, error=None, cached=True)
    assert "1 of them answered before" in state.summary()


def test_a_file_that_takes_no_more_is_told_in_one_sentence(tmp_path):
    with AnswerCache(tmp_path / "a") as cache:
        cache._database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(NotebookError, match=r"full\. Name another file with cache="):
            cache.put("key", {"text": "x" * 100_000, "tokens": 1})
