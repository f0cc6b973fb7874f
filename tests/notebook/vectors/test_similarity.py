"""`nearest`, `duplicates`, `cluster` and `vector_plot`, on vectors that are given."""

import re
import xml.etree.ElementTree as ET

import numpy
import pandas
import polars
import pytest

from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.tables import text_rows
from mlx_notebook.notebook.vectors import similarity
from mlx_notebook.notebook.vectors.similarity import cluster, duplicates, nearest
from mlx_notebook.notebook.vectors.table_embed import as_array
from mlx_notebook.notebook.vectors.vector_plot import vector_plot

TEXTS = pandas.Series(["tea", "tee", "rain", "rainy", "lost"], index=list("abcde"), name="text")
VECTORS = numpy.array([[2, 0, 0], [2, 0.1, 0], [0, 1, 0.1], [0, 1, 0], [numpy.nan] * 3])


def test_the_nearest_come_first_with_the_index_of_the_data():
    found = nearest([1, 0, 0], TEXTS, 2, vectors=VECTORS)
    assert found.index.tolist() == ["a", "b"]
    assert found["text"].tolist() == ["tea", "tee"]
    assert found["similarity"].tolist() == [1.0, pytest.approx(0.9988, abs=1e-4)]
    found = nearest([0, 1, 0], polars.Series(TEXTS.tolist()), 9, vectors=VECTORS)
    assert found["row"].to_list() == [3, 2, 1, 0]  # and not the row without a vector


def test_without_pandas_the_result_is_a_list(monkeypatch):
    monkeypatch.setattr(text_rows, "find_spec", lambda name: None)
    (found,) = nearest([1, 0, 0], list(TEXTS), 1, vectors=VECTORS)
    assert found == {"row": 0, "text": "tea", "similarity": 1.0}


def test_duplicates_are_pairs_above_the_threshold(monkeypatch):
    for block in (256, 1):
        monkeypatch.setattr(similarity, "_BLOCK", block)
        found = duplicates(TEXTS, 0.99, vectors=VECTORS)
        assert found[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["c", "d"]]
        assert found["second_text"].tolist() == ["tee", "rainy"]
    assert duplicates(TEXTS, 1.0, vectors=numpy.eye(5)).empty
    monkeypatch.setattr(similarity, "_MOST_PAIRS", 2)
    with pytest.raises(NotebookError, match="choose a higher threshold"):
        duplicates(TEXTS, -1, vectors=VECTORS)


def test_clusters_are_numbered_by_size_and_align_with_the_data():
    more = numpy.concatenate([VECTORS, [[0, 2, 0]]])
    texts = pandas.Series([*TEXTS, "storm"], index=list("abcdef"))
    for count in (2, None):
        found = cluster(texts, count, vectors=more)
        assert found.index.tolist() == list("abcdef")
        assert str(found.dtype) == "Int64"
        assert found.dropna().tolist() == [1, 1, 0, 0, 0]
        assert found.isna()["e"]
    with pytest.raises(NotebookError, match="too few for 7 clusters"):
        cluster(texts, 7, vectors=more)


def test_cluster_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(similarity, "find_spec", lambda name: None)
    with pytest.raises(NotebookError, match=r"run %pip install scikit-learn\.$"):
        cluster(TEXTS, 2, vectors=VECTORS)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nearest([1, 0], TEXTS, vectors=VECTORS), "name the model that made them"),
        (lambda: nearest([1, 0, 0], TEXTS, vectors=VECTORS[:3]), "one vector for each of 5 rows"),
        (lambda: nearest([1, 0, 0], TEXTS, 0, vectors=VECTORS), "count must be 1 or more"),
        (lambda: nearest("x", TEXTS.to_frame(), vectors=VECTORS), "pass a column"),
        (lambda: duplicates(TEXTS, 2, vectors=VECTORS), "between -1 and 1; you gave 2"),
        (lambda: vector_plot(TEXTS, ["a"], vectors=VECTORS), "1 groups for 5 texts"),
        (lambda: vector_plot(TEXTS[:1], vectors=VECTORS[:1]), "a plot needs two"),
    ],
)
def test_mistakes_are_told(call, said):
    with pytest.raises(NotebookError, match=said):
        call()


def test_a_plot_has_its_points_its_labels_and_the_same_in_words():
    texts = TEXTS.replace("tea", "<b>tea</b>")
    groups = pandas.Series([1, 1, 0, 0, None], dtype="Int64")
    plot = vector_plot(texts, groups, vectors=VECTORS)
    root = ET.fromstring(plot.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label").startswith("Plot of 4 texts")
    written = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<b>tea</b>", "rain", "0", "1"} <= set(written)
    assert "<b>" not in plot.svg
    assert plot.text.splitlines()[1:] == [
        "0 (2 texts), in the middle: rain; rainy",
        "1 (2 texts), in the middle: <b>tea</b>; tee",
    ]
    assert plot.svg == vector_plot(texts, groups, vectors=VECTORS).svg


def test_many_points_stay_a_small_image():
    texts = [f"text number {number}" for number in range(5_000)]
    vectors = numpy.random.default_rng(0).normal(size=(5_000, 8))
    svg = vector_plot(texts, vectors=vectors).svg
    assert len(re.findall("<path", svg)) <= 2_000
    assert len(svg) < 500_000


def test_vectors_become_an_array_with_nan_where_there_is_none():
    one = numpy.array([1, 2], dtype="<f4").tobytes()
    made = as_array([None, one])
    assert made.dtype == numpy.float32
    assert numpy.isnan(made[0]).all()
    assert made[1].tolist() == [1, 2]
    assert as_array([]).shape == (0, 0)
