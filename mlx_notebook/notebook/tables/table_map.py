"""`map`: a model's answer for each row of a table."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from mlx_notebook.notebook.errors import NotATable
from mlx_notebook.notebook.inputs.images import is_image
from mlx_notebook.notebook.inputs.prompt_templates import fill
from mlx_notebook.notebook.tables.map_progress import MapState
from mlx_notebook.notebook.tables.row_chat import RowChat
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowRequest
from mlx_notebook.notebook.tables.table_rows import Table, TableRow, column_kinds
from mlx_notebook.notebook.tables.table_work import Cache, answer_rows, who_answers
from mlx_notebook.notebook.tools.tool import Tools

Prompt = str | Callable[[Any], str]


def map(
    data: Any,
    prompt: Prompt,
    *,
    schema: Any = None,
    model: str | None = None,
    system: str | None = None,
    tools: Tools | None = None,
    images: str | Callable[[Any], Any] | None = None,
    cache: Cache = True,
    retry: int = 2,
    details: bool = False,
    show: bool = True,
    **settings: Any,
) -> Any:
    """Answer a prompt for each row of a table, many rows at a time.

    Answers are kept in a file by the content of their requests. After an interrupt, or a restart of
    the kernel or the server, the same call goes on where it stopped.

    Parameters
    ----------
    data
        A pandas or polars DataFrame or Series, a list, or an iterator.
    prompt
        A template with placeholders such as `{{ column }}`, or a function that returns the prompt.
        A placeholder is the name of a column, or `value` for the element of a Series or list; an
        image in it is sent as an image. A function gets a dict of the columns, or the element.
    schema
        The type of the answers, such as a pydantic model, a dataclass or a JSON schema.
    model
        Name of the model. The notebook's model by default.
    system
        The system message. It is computed once for all rows.
    tools
        Functions that the model may call for each row. Those that need an approval fail.
    images
        The column that holds an image, or a function that returns one image or several.
    cache
        Whether to keep answers and use earlier ones; or the file to use.
    retry
        How often to try a row again after a failure that may pass.
    details
        Whether the result without a schema is a DataFrame of answer, error, tokens and cached.
    show
        Whether to show the progress.
    settings
        Other parameters of the chat completions endpoint, such as `max_tokens`, `temperature` or
        `seed`.

    Returns
    -------
    Series, DataFrame or list
        Without a schema a Series of texts with the index of `data`; rows that failed are missing,
        and with pandas `attrs["errors"]` says why. With a schema a DataFrame with a typed column
        for each field, and the column `error`. For a list or an iterator they are pandas objects
        too, or plain lists where pandas is not installed.

    Raises
    ------
    NotebookError
        If there is no server, the prompt does not fit the first row, or there is a mistake in the
        call, such as a model that does not exist. A row that fails raises nothing.
    Interrupted
        On a kernel interrupt. What is done is kept.

    Examples
    --------
    >>> df["topic"] = mlx_notebook.map(df, "Name the topic of: {{ text }}", max_tokens=10)
    """
    table = Table(data)
    server, chosen = who_answers(model)
    chat = RowChat(server, chosen, system=system, schema=schema, tools=tools, settings=settings)
    requests = row_requests(table, prompt, images)
    answers = answer_rows(
        MapState(table.count), requests, server, chat, cache=cache, retry=retry, show=show
    )
    if chat.format is None and not details:
        return _texts(table, answers)
    if chat.format is None:
        return _details(table, answers)
    return _columns(table, answers, schema, chat.format["json_schema"]["schema"])


def row_requests(table: Table, prompt: Prompt, images: Any) -> Iterator[RowRequest]:
    """Yield what to ask about each row. A row whose prompt cannot be made says why.

    Raises
    ------
    NotebookError
        If the prompt does not fit the first row.
    """
    if isinstance(prompt, str) and "{{" not in prompt:
        raise NotATable(
            "The prompt names nothing of a row. Write a placeholder such as {{ value }} or "
            "{{ column }} into it, or pass a function."
        )
    for index, row in enumerate(table.rows()):
        try:
            made, images_in_it = _prompt(prompt, row)
            yield RowRequest(made, (*_images(images, row), *images_in_it))
        except Exception as error:
            if not index:  # then it is the prompt, and not the row
                raise
            yield RowRequest(error=f"{type(error).__name__}: {error}")


def _prompt(prompt: Prompt, row: TableRow) -> tuple[str, list[Any]]:
    """Return a row's prompt, and the images that stand in its placeholders."""
    images: list[Any] = []
    if isinstance(prompt, str):

        def lookup(name: str) -> Any:
            value = row.lookup(name)
            if not is_image(value):
                return value
            images.append(value)
            return f"(image {len(images)})"

        return fill(prompt, lookup), images
    made = prompt(row.value)
    if not isinstance(made, str):
        raise NotATable(f"the function returned {type(made).__name__} in place of a prompt")
    return made, images


def _images(images: Any, row: TableRow) -> tuple[Any, ...]:
    if images is None:
        return ()
    found = row.lookup(images) if isinstance(images, str) else images(row.value)
    if found is None:
        return ()
    return tuple(found) if isinstance(found, list | tuple) else (found,)


def _texts(table: Table, answers: list[RowAnswer]) -> Any:
    result = table.texts([answer.text for answer in answers])
    errors = {i: answer.error for i, answer in enumerate(answers) if answer.error is not None}
    if errors and hasattr(result, "attrs"):
        result.attrs["errors"] = {result.index[i]: error for i, error in errors.items()}
    return result


def _details(table: Table, answers: list[RowAnswer]) -> Any:
    kinds = {"answer": str, "error": str, "tokens": int, "cached": bool}
    return table.columns(
        {
            "answer": [answer.text for answer in answers],
            "error": [answer.error for answer in answers],
            "tokens": [answer.tokens for answer in answers],
            "cached": [answer.cached for answer in answers],
        },
        kinds,
    )


def _columns(table: Table, answers: list[RowAnswer], schema: Any, described: dict[str, Any]) -> Any:
    kinds = column_kinds(described)
    values = [_as_json(answer.value, schema) for answer in answers]
    columns: dict[str, list[Any]] = {}
    for name in kinds:
        columns[name] = [
            None if value is None else value.get(name) if isinstance(value, dict) else value
            for value in values
        ]
    error = "error" if "error" not in kinds else "map_error"
    columns[error] = [answer.error for answer in answers]
    return table.columns(columns, {**kinds, error: str})


def _as_json(value: Any, schema: Any) -> Any:
    """Return an answer's object as plain JSON values."""
    if value is None or isinstance(schema, dict):
        return value
    from pydantic import TypeAdapter

    return json.loads(TypeAdapter(schema).dump_json(value))
