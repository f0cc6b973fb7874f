"""The rows of what `map` takes, and the result in the same form."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from mlx_notebook.notebook.errors import NotATable
from mlx_notebook.notebook.inputs.as_text import from_library

Column = list[Any]


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes
    ----------
    value
        A dict of columns for a row of a DataFrame; the element of a Series, list or iterator.
    columns
        What a prompt template may name: the columns, or else `value`.
    """

    value: Any
    columns: Mapping[str, Any]

    def lookup(self, name: str) -> Any:
        """Return a column's value.

        Raises
        ------
        NotATable
            If there is no such column.
        """
        if name not in self.columns:
            raise NotATable(f"there is no {name!r}; there is {', '.join(self.columns)}")
        return self.columns[name]


class Table:
    """Data whose rows are answered one by one.

    Parameters
    ----------
    data
        A pandas or polars DataFrame or Series, or an iterable.
    word
        Who needs it, for the message of the error.

    Attributes
    ----------
    count
        The number of rows; None for an iterator, which is read as the work goes on.
    is_frame
        Whether rows have columns.

    Raises
    ------
    NotATable
        If `data` is none of these.
    """

    def __init__(self, data: Any, word: str = "map") -> None:
        is_iterable = isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping)
        if not (is_iterable or from_library(data, "polars")):
            raise NotATable(
                f"{word} needs a DataFrame, a Series, a list or an iterator, and not {_kind(data)}."
            )
        self._data = data
        self.count = len(data) if isinstance(data, Sized) else None
        self.is_frame = from_library(data, "pandas", "polars") and hasattr(data, "columns")

    def rows(self) -> Iterator[TableRow]:
        """Yield the rows in their order."""
        data = self._data
        if self.is_frame:
            names = [str(name) for name in data.columns]
            rows = data.itertuples(index=False, name=None) if _is_pandas(data) else data.iter_rows()
            for values in rows:
                columns = dict(zip(names, values, strict=True))
                yield TableRow(columns, columns)
            return
        name = getattr(data, "name", None)
        for value in data:
            if isinstance(value, Mapping):
                yield TableRow(value, {str(key): one for key, one in value.items()})
            else:
                yield TableRow(value, {"value": value, **({str(name): value} if name else {})})

    def texts(self, texts: Column) -> Any:
        """Return one text for each row: a Series, or a list without pandas."""
        return self.column("answer", texts, str)

    def column(self, name: str, values: Column, kind: type = int) -> Any:
        """Return one value for each row, of the type `str` or `int`: a Series, or a list."""
        if from_library(self._data, "polars"):
            import polars

            of = polars.String if kind is str else polars.Int64
            return polars.Series(name, values, dtype=of)
        if find_spec("pandas") is None:
            return values
        import pandas

        dtype = "str" if kind is str else "Int64"
        return pandas.Series(values, index=self._index(), name=name, dtype=dtype)

    def columns(self, columns: Mapping[str, Column], kinds: Mapping[str, Any]) -> Any:
        """Return columns for each row: a DataFrame, or a list of dicts without pandas.

        Parameters
        ----------
        columns
            The values by column, None where a row has none.
        kinds
            For each column `int`, `float`, `bool`, `str`, a list of the only texts that occur, or
            `object`.
        """
        if from_library(self._data, "polars"):
            import polars

            types = {
                int: polars.Int64,
                float: polars.Float64,
                bool: polars.Boolean,
                str: polars.String,
            }
            made = {}
            for name, values in columns.items():
                kind = kinds[name]
                if isinstance(kind, list):
                    made[name] = polars.Series(name, values, dtype=polars.Enum(kind))
                elif kind in types:
                    made[name] = polars.Series(name, values, dtype=types[kind])
                else:
                    made[name] = polars.Series(name, values, strict=False)
            return polars.DataFrame(made)
        if find_spec("pandas") is None:
            rows = zip(*columns.values(), strict=True)
            return [dict(zip(columns, values, strict=True)) for values in rows]
        import pandas

        dtypes = {int: "Int64", float: "float64", bool: "boolean", str: "str", object: object}
        frame = {}
        for name, values in columns.items():
            kind = kinds[name]
            dtype = pandas.CategoricalDtype(kind) if isinstance(kind, list) else dtypes[kind]
            frame[name] = pandas.Series(values, index=self._index(), dtype=dtype)
        return pandas.DataFrame(frame, index=self._index())

    def _index(self) -> Any:
        return self._data.index if _is_pandas(self._data) else None


def _is_pandas(data: Any) -> bool:
    return from_library(data, "pandas") and hasattr(data, "index")


def _kind(data: Any) -> str:
    return type(data).__name__


def column_kinds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an answer and their kinds, from a JSON schema.

    An object has a column for each property. Any other answer has the column `answer`.
    """
    target = _resolved(schema, schema)
    properties = target.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return {"answer": _column_kind(target, schema)}
    return {str(name): _column_kind(part, schema) for name, part in properties.items()}


def _column_kind(part: Any, schema: Mapping[str, Any]) -> Any:
    part = _resolved(part, schema)
    options = [_resolved(one, schema) for one in part.get("anyOf", [])]
    given = [one for one in options if one.get("type") != "null"]
    if len(given) == 1 and len(options) == 2:  # Optional[...]
        part = given[0]
    values: Sequence[Any] = part.get("enum", [])
    if values and all(isinstance(value, str) for value in values):
        return list(values)
    kinds = {"integer": int, "number": float, "boolean": bool, "string": str}
    return kinds.get(part.get("type", ""), object)


def _resolved(part: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference to a definition of the same schema."""
    for _ in range(8):
        reference = part.get("$ref", "") if isinstance(part, Mapping) else ""
        if not reference.startswith("#/"):
            break
        part = schema
        for key in reference.removeprefix("#/").split("/"):
            part = part.get(key, {}) if isinstance(part, Mapping) else {}
    return part if isinstance(part, Mapping) else {}
