"""`rerank`: the texts that answer a query best, as a model judges that reads both."""

from typing import Any

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotATable, NotebookError
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.text_rows import TextRows, check_count

_TOGETHER = 256
"""Texts of one request."""


def rerank(
    query: str,
    data: Any,
    count: int = 5,
    *,
    model: str | None = None,
    instruction: str | None = None,
) -> Any:
    """Return the texts that answer a query best, the best first.

    The model reads each text together with the query. That is slower than `nearest`, and finds
    better: use it on the hundred texts that `nearest` has found.

    Parameters
    ----------
    query
        What is looked for.
    data
        A pandas or polars Series, or a list, of texts.
    count
        How many to return.
    model
        The model that judges. By default the first one on the server that ranks documents.
    instruction
        What counts as an answer, for models that take one.

    Returns
    -------
    DataFrame
        The columns `text` and `relevance` (from 0 to 1), with the index of `data`. With polars, and
        without pandas, the place of a row is the column `row`.

    Raises
    ------
    NotebookError
        If there is no server, no model that ranks documents, or an element is no text.

    Examples
    --------
    >>> mlx_notebook.rerank("late delivery", df["text"], 3)
    """
    check_count(count, "count")
    if not isinstance(query, str) or not query.strip():
        raise NotebookError(f"query must be a text; you gave {query!r}.")
    rows = TextRows(data, "rerank")
    for row, text in enumerate(rows.texts):
        if not isinstance(text, str):
            raise NotATable(
                f"rerank needs texts, and row {row} is {type(text).__name__}: leave it out, or "
                "turn it into a text."
            )
    server = connection.connect()
    body: dict[str, Any] = {"query": query, "model": model or _model_that_ranks(server)}
    if instruction is not None:
        body["instruction"] = instruction
    scores = []
    for begin in range(0, len(rows.texts), _TOGETHER):
        documents = rows.texts[begin : begin + _TOGETHER]
        answer = server.post("v1/rerank", {**body, "documents": documents})
        scores += [(one["relevance_score"], begin + one["index"]) for one in answer["results"]]
    best = sorted(scores, key=lambda pair: (-pair[0], pair[1]))[:count]
    places = [place for _, place in best]
    return rows.frame(
        {
            "text": [rows.texts[place] for place in places],
            "relevance": [round(score, 4) for score, _ in best],
        },
        rows.labels(places),
    )


def _model_that_ranks(server: Server) -> str:
    """Return the first model that ranks documents, of those in memory if there is one."""
    models = [one for one in server.get("v1/models")["data"] if "rerank" in one["capabilities"]]
    if not models:
        raise NotebookError(
            "No model on the server ranks documents. Load one, such as "
            "%mlx load mlx-community/Qwen3-Reranker-0.6B-mxfp8, or name one with model=."
        )
    return str(min(models, key=lambda one: one["state"] != "loaded")["id"])
