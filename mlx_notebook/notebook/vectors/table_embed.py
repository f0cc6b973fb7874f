"""`embed`: a vector for each row of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.errors import NotATable, NotebookError
from mlx_notebook.notebook.inputs.images import is_image
from mlx_notebook.notebook.tables.map_progress import MapState
from mlx_notebook.notebook.tables.table_map import Prompt, row_requests
from mlx_notebook.notebook.tables.table_rows import Table
from mlx_notebook.notebook.tables.table_work import Cache, answer_rows, who_answers
from mlx_notebook.notebook.vectors.row_embedder import RowEmbedder

if TYPE_CHECKING:
    import numpy


def embed(
    data: Any,
    prompt: Prompt | None = None,
    *,
    model: str | None = None,
    dimensions: int | None = None,
    cache: Cache = True,
    retry: int = 2,
    show: bool = True,
) -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]":
    """Return a vector for each row of a table; texts that mean alike have vectors that are alike.

    Many texts are sent at a time. Vectors are kept as `map` keeps answers, so that the same call
    goes on after an interrupt or a restart.

    Parameters
    ----------
    data
        A pandas or polars Series, a list, or an iterator of texts. A DataFrame needs a `prompt`.
        For a model that embeds images, elements may be images too: PIL images, figures, paths.
    prompt
        The text of a row, if it is not the element itself: a template or a function, as for `map`.
    model
        Name of the model. The notebook's model by default; an embedding model gives better vectors.
    dimensions
        How many components to keep. All by default.
    cache, retry, show
        As for `map`.

    Returns
    -------
    numpy.ndarray
        Unit vectors, of shape (rows, components) and type float32. A row that failed is NaN, and
        the cell says why.

    Raises
    ------
    NotebookError
        If there is no server, or there is a mistake in the call. A row that fails raises nothing.
    Interrupted
        On a kernel interrupt. What is done is kept.

    Examples
    --------
    >>> vectors = mlx_notebook.embed(df["text"])
    >>> vectors.shape
    (1000, 384)
    """
    table = Table(data, "embed")
    if prompt is None and table.is_frame:
        raise NotATable(
            'embed needs one text a row: pass a column, such as df["text"], or a template of '
            'columns, such as "{{ title }}: {{ text }}".'
        )
    if dimensions is not None and (not isinstance(dimensions, int) or dimensions < 1):
        raise NotebookError(f"dimensions must be 1 or more; you gave {dimensions!r}.")
    server, chosen = who_answers(model)
    answers = answer_rows(
        MapState(table.count, "embed"),
        row_requests(table, _text, _image) if prompt is None else row_requests(table, prompt, None),
        server,
        RowEmbedder(server, chosen, dimensions=dimensions),
        cache=cache,
        retry=retry,
        show=show,
    )
    return as_array([answer.value for answer in answers])


def _image(value: Any) -> Any:
    return value if is_image(value) or isinstance(value, Path) else None


def _text(value: Any) -> str:
    if _image(value) is not None:
        return ""
    if not isinstance(value, str):
        raise NotATable(f"{type(value).__name__} is not a text")
    if not value.strip():
        raise NotATable("the text is empty")
    return value


def as_array(
    vectors: list[bytes | None],
) -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]":
    """Return vectors of float32 as the rows of an array, with NaN where there is none."""
    import numpy

    width = next((len(vector) // 4 for vector in vectors if vector is not None), 0)
    array = numpy.full((len(vectors), width), numpy.nan, dtype=numpy.float32)
    for row, vector in zip(array, vectors, strict=True):
        if vector is not None:
            row[:] = numpy.frombuffer(vector, dtype="<f4")
    return array
