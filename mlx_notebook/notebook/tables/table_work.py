"""What `map` and `embed` share: who answers, the file of earlier answers, progress, interrupts."""

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.interrupts import LastingInterrupt
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache, default_file
from mlx_notebook.notebook.tables.map_progress import MapState, MapView
from mlx_notebook.notebook.tables.row_loop import Answerer, RowAnswer, RowLoop, RowRequest

Cache = bool | str | os.PathLike[str]
"""Whether to keep answers; or the file to keep them in."""


def who_answers(model: str | None) -> tuple[Server, str]:
    """Return the server, and the model's name: by default the notebook's.

    Raises
    ------
    NotebookError
        If there is no server, or no model.
    """
    server = connection.connect()
    chosen = model or connection.default_model()
    if chosen is None:
        raise NotebookError("The server has no default model: name one with model=.")
    return server, chosen


def answer_rows(
    state: MapState,
    requests: Iterable[RowRequest],
    server: Server,
    answerer: Answerer,
    *,
    cache: Cache,
    retry: int,
    show: bool,
) -> list[RowAnswer]:
    """Answer all rows and show the progress.

    Raises
    ------
    NotebookError
        If there is a mistake in the call.
    Interrupted
        On a kernel interrupt. What is done is kept.
    """
    if not isinstance(retry, int) or retry < 0:
        raise NotebookError(f"retry must be 0 or more; you gave {retry!r}.")
    view = MapView(state, shown=show)
    file = default_file() if cache is True else Path(cache) if cache else None
    with AnswerCache(file) if file is not None else nullcontext() as answers:
        loop = RowLoop(server, answerer, retry=retry, cache=answers)
        try:
            with LastingInterrupt():
                found = loop.run(requests, state, view)
        except KeyboardInterrupt:
            kept = "Run the cell again to go on." if file is not None else "Nothing was kept."
            view.end(f"It was stopped. {kept}")
            raise Interrupted(
                f"{state.name} was stopped after {state.done:,} rows. {kept}"
            ) from None
    view.end()
    return found
