"""`nearest`, `duplicates` and `cluster`: what the vectors of texts say about them."""

from importlib.util import find_spec
from typing import Any

from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.tables.table_rows import Table
from mlx_notebook.notebook.tables.text_rows import TextRows, check_count
from mlx_notebook.notebook.vectors.table_embed import embed

_BLOCK = 256
_MOST_PAIRS = 1_000_000
_MOST_CLUSTERS = 10
"""The most clusters that are tried if their number is not given."""


class TextVectors(TextRows):
    """Texts and their vectors, row by row.

    Parameters
    ----------
    data
        A pandas or polars Series, a list or an iterator of texts.
    vectors
        What `embed` returned for them; None to embed them now.
    model
        The model to embed with.
    word
        Who needs them, for messages.

    Attributes
    ----------
    texts
        The elements, as they are.
    vectors
        Unit vectors, of shape (rows, components), float32. Rows that have none are NaN.
    present
        The places of the rows that have a vector.

    Raises
    ------
    NotebookError
        If they do not fit together.
    """

    def __init__(self, data: Any, vectors: Any, model: str | None, word: str) -> None:
        import numpy

        super().__init__(data, word)
        self.model = model
        made = embed(self.data, model=model) if vectors is None else numpy.asarray(vectors)
        if made.ndim != 2 or len(made) != len(self.texts):
            raise NotebookError(
                f"{word} needs one vector for each of {len(self.texts):,} rows; the vectors have "
                f"the shape {made.shape}."
            )
        lengths = numpy.linalg.norm(made, axis=1, keepdims=True)
        with numpy.errstate(invalid="ignore", divide="ignore"):
            self.vectors = (made / lengths).astype(numpy.float32)
        self.present = numpy.flatnonzero(numpy.isfinite(self.vectors).all(axis=1))


def nearest(
    query: Any, data: Any, count: int = 5, *, vectors: Any = None, model: str | None = None
) -> Any:
    """Return the texts that are most alike to a text, the most alike first.

    Parameters
    ----------
    query
        A text, or a vector.
    data
        A pandas or polars Series, or a list, of texts.
    count
        How many to return.
    vectors
        What `embed` returned for `data`. Without it they are embedded now.
    model
        The model of the vectors. The notebook's model by default.

    Returns
    -------
    DataFrame
        The columns `text` and `similarity` (the cosine, from -1 to 1), with the index of `data`.
        With polars, and without pandas, the place of a row is the column `row`.

    Raises
    ------
    NotebookError
        If there is no server, or query, data and vectors do not fit together.

    Examples
    --------
    >>> vectors = mlx_notebook.embed(df["text"])
    >>> mlx_notebook.nearest("late delivery", df["text"], vectors=vectors)
    """
    import numpy

    check_count(count, "count")
    texts = TextVectors(data, vectors, model, "nearest")
    asked = embed([query], model=model, cache=False, show=False)[0] if _is_text(query) else query
    asked = numpy.asarray(asked, dtype=numpy.float32)
    if not numpy.isfinite(asked).all():
        raise NotebookError("The query has no vector: it is empty, or the server refused it.")
    if asked.shape != texts.vectors.shape[1:]:
        raise NotebookError(
            f"The query has {asked.size:,} components and the vectors have "
            f"{texts.vectors.shape[1]:,}: name the model that made them with model=."
        )
    found = texts.vectors[texts.present] @ (asked / numpy.linalg.norm(asked))
    best = numpy.argsort(-found, kind="stable")[:count]
    rows = texts.present[best]
    return texts.frame(
        {
            "text": [texts.texts[row] for row in rows],
            "similarity": [round(float(one), 4) for one in found[best]],
        },
        texts.labels(rows),
    )


def duplicates(
    data: Any, threshold: float = 0.95, *, vectors: Any = None, model: str | None = None
) -> Any:
    """Return the pairs of texts that are alike, the most alike first.

    Parameters
    ----------
    data
        A pandas or polars Series, or a list, of texts.
    threshold
        The least similarity of a pair (the cosine, from -1 to 1).
    vectors, model
        As for `nearest`.

    Returns
    -------
    DataFrame
        The columns `first` and `second` (the labels of both rows), `first_text`, `second_text` and
        `similarity`.

    Raises
    ------
    NotebookError
        If there is no server, or there are more than a million pairs.

    Examples
    --------
    >>> mlx_notebook.duplicates(df["text"], 0.9)
    """
    import numpy

    if not isinstance(threshold, int | float) or not -1 <= threshold <= 1:
        raise NotebookError(f"threshold must be between -1 and 1; you gave {threshold!r}.")
    texts = TextVectors(data, vectors, model, "duplicates")
    known = texts.vectors[texts.present]
    pairs: list[tuple[float, int, int]] = []
    for start in range(0, len(known), _BLOCK):
        block = known[start : start + _BLOCK] @ known[start:].T
        above, beside = numpy.nonzero(numpy.triu(block >= threshold, k=1))
        if len(pairs) + len(above) > _MOST_PAIRS:
            raise NotebookError(
                f"More than {_MOST_PAIRS:,} pairs are that similar: choose a higher threshold."
            )
        pairs += [
            (float(block[i, j]), start + int(i), start + int(j))
            for i, j in zip(above, beside, strict=True)
        ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    first = [texts.present[one] for _, one, _ in pairs]
    second = [texts.present[one] for _, _, one in pairs]
    return texts.frame(
        {
            "first": texts.labels(first),
            "second": texts.labels(second),
            "first_text": [texts.texts[row] for row in first],
            "second_text": [texts.texts[row] for row in second],
            "similarity": [round(min(pair[0], 1.0), 4) for pair in pairs],
        }
    )


def cluster(
    data: Any,
    count: int | None = None,
    *,
    vectors: Any = None,
    model: str | None = None,
    seed: int = 0,
) -> Any:
    """Return for each text the number of its cluster, by k-means on the vectors.

    It needs scikit-learn.

    Parameters
    ----------
    data
        A pandas or polars Series, or a list, of texts.
    count
        How many clusters. By default the number from 2 to 10 with the best silhouette.
    vectors, model
        As for `nearest`.
    seed
        The same seed gives the same clusters.

    Returns
    -------
    Series or list
        The numbers, with the index of `data`; cluster 0 is the largest. A row without a vector is
        missing.

    Raises
    ------
    NotebookError
        If scikit-learn is not installed, there is no server, or there are too few rows.

    Examples
    --------
    >>> df["cluster"] = mlx_notebook.cluster(df["text"], 4)
    """
    if find_spec("sklearn") is None:
        raise NotebookError(
            "cluster needs scikit-learn, which is not installed here: run %pip install "
            "scikit-learn."
        )
    import numpy

    if count is not None:
        check_count(count, "count")
    texts = TextVectors(data, vectors, model, "cluster")
    known = texts.vectors[texts.present]
    if len(known) < (count or 3):
        raise NotebookError(
            f"{len(known):,} rows have a vector: too few for {count or 'two or more'} clusters."
        )
    numbers = _clusters(known, count, seed)
    sizes = numpy.bincount(numbers)
    by_size = numpy.argsort(numpy.argsort(-sizes, kind="stable"), kind="stable")
    found: list[int | None] = [None] * len(texts.texts)
    for row, number in zip(texts.present, numbers, strict=True):
        found[row] = int(by_size[number])
    return Table(texts.data).column("cluster", found)


def _clusters(known: Any, count: int | None, seed: int) -> Any:
    """Return the number of each vector's cluster."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    def by(number: int) -> Any:
        return KMeans(number, n_init=10, random_state=seed).fit_predict(known)

    if count is not None:
        return by(count)
    tried = [by(number) for number in range(2, min(_MOST_CLUSTERS, len(known) - 1) + 1)]
    # More than a sample would take time that grows with the square of the rows.
    size = min(len(known), 2_000)
    return max(
        (one for one in tried if len(set(one)) > 1),
        key=lambda one: silhouette_score(known, one, sample_size=size, random_state=seed),
        default=tried[0],
    )


def _is_text(query: Any) -> bool:
    return isinstance(query, str)
