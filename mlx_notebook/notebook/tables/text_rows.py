"""Texts as rows, and what is found about them as a table of the same library."""

from importlib.util import find_spec
from typing import Any

from mlx_notebook.notebook.errors import NotATable, NotebookError
from mlx_notebook.notebook.inputs.as_text import from_library
from mlx_notebook.notebook.tables.table_rows import Table


class TextRows:
    """Texts, row by row.

    Parameters
    ----------
    data
        A pandas or polars Series, a list or an iterator of texts.
    word
        Who needs them, for messages.

    Attributes
    ----------
    texts
        The elements, as they are.

    Raises
    ------
    NotebookError
        If `data` is a table of several columns.
    """

    def __init__(self, data: Any, word: str) -> None:
        if Table(data, word).is_frame:
            raise NotATable(f'{word} needs one text a row: pass a column, such as df["text"].')
        self.data: Any = data if hasattr(data, "__len__") else list(data)
        self.texts: list[Any] = list(self.data)

    def labels(self, rows: Any) -> list[Any]:
        """Return the labels of rows: those of a pandas index, or their places."""
        if from_library(self.data, "pandas") and hasattr(self.data, "index"):
            return list(self.data.index[rows])
        return [int(row) for row in rows]

    def frame(self, columns: dict[str, list[Any]], labels: list[Any] | None = None) -> Any:
        """Return a DataFrame of the data's library; a list of dicts where pandas is missing."""
        with_labels = columns if labels is None else {"row": labels, **columns}
        if from_library(self.data, "polars"):
            import polars

            return polars.DataFrame(with_labels, strict=False)
        if find_spec("pandas") is None:
            names, rows = list(with_labels), zip(*with_labels.values(), strict=True)
            return [dict(zip(names, values, strict=True)) for values in rows]
        import pandas

        return pandas.DataFrame(columns, index=labels)


def check_count(count: Any, name: str) -> None:
    """Check that a number is an integer of 1 or more.

    Raises
    ------
    NotebookError
        If it is not.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise NotebookError(f"{name} must be 1 or more; you gave {count!r}.")
