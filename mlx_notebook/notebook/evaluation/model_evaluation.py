"""`evaluate`: the answers of models to the rows of a table, and their scores."""

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.evaluation.evaluation import Evaluation
from mlx_notebook.notebook.evaluation.evaluation_file import EvaluatedRow, add_rows, read_rows
from mlx_notebook.notebook.evaluation.metrics import Judge, Metric, as_json_value, as_metrics
from mlx_notebook.notebook.evaluation.variants import Variant, variants_of
from mlx_notebook.notebook.inputs.as_text import from_library
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache, default_file
from mlx_notebook.notebook.tables.map_progress import MapState
from mlx_notebook.notebook.tables.row_chat import RowChat
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowRequest
from mlx_notebook.notebook.tables.table_map import Prompt, row_requests
from mlx_notebook.notebook.tables.table_rows import Table, TableRow
from mlx_notebook.notebook.tables.table_work import Cache, answer_rows, who_answers

_VERDICT = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


def evaluate(
    data: Any,
    task: Prompt,
    models: str | Sequence[str] | None = None,
    metrics: Any = "exact",
    *,
    expected: str | Callable[[Any], Any] | None = None,
    settings: Any = None,
    system: str | None = None,
    schema: Any = None,
    images: str | Callable[[Any], Any] | None = None,
    sample: int | None = None,
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    cache: Cache = True,
    retry: int = 2,
    show: bool = True,
    **common: Any,
) -> Evaluation:
    """Measure how well models answer the rows of a table.

    Each model answers many rows at a time, one model after the other. Answers are kept as by
    `map`: after an interrupt the same call goes on where it stopped.

    Parameters
    ----------
    data
        A pandas or polars DataFrame or Series, a list, or an iterator.
    task
        The prompt: a template with placeholders such as `{{ column }}`, or a function of the row.
    models
        Names of models, one or several. The notebook's model by default.
    metrics
        One or several of: the names `"exact"`, `"f1"`, `"regex"`, `"json"`, `"number"` and
        `"judge"`; metrics of `mlx_notebook.metrics` with their own parameters; functions that take
        the answer, the expected answer and the row, and return a number.
    expected
        The column with the expected answer, or a function of the row. A list means several that
        are right.
    settings
        Settings to compare, such as `[{"temperature": 0}, {"temperature": 1}]`: each model answers
        with each of them.
    system, schema, images
        As for `map`.
    sample
        How many rows to evaluate, chosen by `seed`. All by default.
    seed
        From it come the seed of each request, the sample and the confidence intervals.
    file
        Where to keep the results. If the file has results for the same prompts, only what is
        missing is asked for, and the models in it are part of the result.
    cache, retry, show
        As for `map`.
    common
        Parameters of all requests, such as `max_tokens` or `temperature`.

    Returns
    -------
    Evaluation
        The scores. A cell shows them as a table.

    Raises
    ------
    NotebookError
        If there is no server, a mistake in the call, or a metric fails. Rows that fail raise
        nothing: they count as failed, and have the worst score of each metric of
        `mlx_notebook.metrics`.
    Interrupted
        On a kernel interrupt. What is done is kept.

    Examples
    --------
    >>> result = mlx_notebook.evaluate(
    ...     df, "{{ question }}", ["tiny-chat"], "f1", expected="answer", max_tokens=20
    ... )
    >>> result.disagreements()
    """
    measured = as_metrics(metrics)
    if expected is None and (missing := [m.name for m in measured if m.needs_expected]):
        raise NotebookError(
            f"{missing[0]} compares with an expected answer: name its column with expected=."
        )
    server, default = who_answers(models if isinstance(models, str) else None)
    chosen = variants_of(models or default, settings, {"seed": seed, **common})
    rows = _chosen_rows(data, sample, seed)
    work = _Evaluator(
        server,
        [place for place, _ in rows],
        [row for _, row in rows],
        list(row_requests(_ChosenRows([row for _, row in rows]), task, images)),
        [_expected(expected, row) for _, row in rows],
        _Options(system, schema, cache, retry, show, seed),
    )
    path = Path(file) if file is not None else None
    work.run(chosen, measured, path)
    return Evaluation(work.answers, seed=seed, like=_like(data))


@dataclass(frozen=True)
class _Options:
    system: str | None
    schema: Any
    cache: Cache
    retry: int
    show: bool
    seed: int


class _ChosenRows(Table):
    """Rows of a table, as a table."""

    def __init__(self, rows: list[TableRow]) -> None:
        super().__init__(rows)
        self._rows = rows

    def rows(self) -> Iterator[TableRow]:
        """Yield the rows."""
        yield from self._rows


class _Evaluator:
    """Asks models about rows and scores the answers. All lists have one entry a row."""

    def __init__(
        self,
        server: Server,
        places: list[int],
        rows: list[TableRow],
        requests: list[RowRequest],
        expected: list[Any],
        options: _Options,
    ) -> None:
        self._server, self._places, self._rows = server, places, rows
        self._requests, self._expected, self._options = requests, expected, options
        self._at = {place: at for at, place in enumerate(places)}
        self._found: dict[tuple[str, int], EvaluatedRow] = {}

    @property
    def answers(self) -> list[EvaluatedRow]:
        """All answers so far, also those of the file."""
        return list(self._found.values())

    def run(
        self, variants: list[Variant], metrics: list[Metric | Judge], file: Path | None
    ) -> None:
        """Ask all models, score all answers, and add to the file what is new in it."""
        if file is not None and file.exists():
            self._take_from(file)
        before = {key: dict(one.scores) for key, one in self._found.items()}
        kept = {key: one.key for key, one in self._found.items()}
        own = [metric for metric in metrics if isinstance(metric, Metric)]
        try:
            try:
                for variant in variants:
                    self._ask(variant)
            finally:
                self._score(own)
            for metric in metrics:
                if isinstance(metric, Judge):
                    self._judge(metric)
        finally:
            new = [
                one
                for key, one in self._found.items()
                if kept.get(key) != one.key or before.get(key) != one.scores
            ]
            if file is not None and new:
                add_rows(file, new)
        # In the order of the call, whatever the file had before.
        order = [metric.name for metric in metrics]
        for one in self._found.values():
            rest = {name: value for name, value in one.scores.items() if name not in order}
            one.scores = {**{name: one.scores.get(name) for name in order}, **rest}

    def _take_from(self, file: Path) -> None:
        """Take the answers of a file that belong to the rows.

        Raises
        ------
        NotebookError
            If they belong to other prompts.
        """
        for one in read_rows(file):
            at = self._at.get(one.row)
            if at is None:
                continue
            mine = (self._requests[at].prompt, as_json_value(self._expected[at]))
            if (one.prompt, one.expected) != mine:
                raise NotebookError(
                    f"{file} has another prompt or expected answer for row {one.row}: it belongs "
                    "to other data or another task. Name another file."
                )
            self._found[one.label, one.row] = one

    def _ask(self, variant: Variant) -> None:
        """Ask a model about all rows that have no answer to the same request yet."""
        options = self._options
        chat = RowChat(
            self._server,
            variant.model,
            system=options.system,
            schema=options.schema,
            tools=None,
            settings=dict(variant.settings),
        )
        # With one seed for all rows their answers would err alike.
        requests = [
            replace(one, seed=_row_seed(variant.settings["seed"], place))
            for one, place in zip(self._requests, self._places, strict=True)
        ]
        keys = ["" if one.error is not None else chat.key(one) for one in requests]
        todo = [
            at
            for at, place in enumerate(self._places)
            if (one := self._found.get((variant.label, place))) is None
            or one.key != keys[at]
            or one.answer is None
        ]
        try:
            answers: Sequence[RowAnswer | None] = self._answered(
                f"evaluate {variant.label}", [requests[at] for at in todo], chat
            )
        except Interrupted:
            kept = self._kept(chat, [requests[at] for at in todo])
            for at, answer in zip(todo, kept, strict=True):
                if answer is not None:
                    self._put(variant, at, keys[at], answer)
            raise
        for at, answer in zip(todo, answers, strict=True):
            if answer is not None:
                self._put(variant, at, keys[at], answer)

    def _answered(self, name: str, requests: list[RowRequest], chat: RowChat) -> list[RowAnswer]:
        if not requests:
            return []
        options = self._options
        return answer_rows(
            MapState(len(requests), name),
            requests,
            self._server,
            chat,
            cache=options.cache,
            retry=options.retry,
            show=options.show,
        )

    def _kept(self, chat: RowChat, requests: list[RowRequest]) -> list[RowAnswer | None]:
        """Return the answers that were kept when the work was interrupted."""
        cache = self._options.cache
        if not cache:
            return [None] * len(requests)
        with AnswerCache(default_file() if cache is True else Path(cache)) as file:
            found = [file.get(chat.key(request)) for request in requests]
        return [chat.recalled(one) if one is not None else None for one in found]

    def _put(self, variant: Variant, at: int, key: str, answer: RowAnswer) -> None:
        place = self._places[at]
        self._found[variant.label, place] = EvaluatedRow(
            variant.label,
            variant.model,
            dict(variant.settings),
            place,
            self._requests[at].prompt,
            as_json_value(self._expected[at]),
            key,
            answer.text,
            answer.error,
            answer.tokens,
            answer.answer_tokens,
            round(answer.seconds, 4),
        )

    def _score(self, metrics: list[Metric]) -> None:
        for one in self._found.values():
            at = self._at[one.row]
            for metric in metrics:
                one.scores[metric.name] = metric.score(
                    one.answer, self._expected[at], self._rows[at].value
                )

    def _judge(self, judge: Judge) -> None:
        """Have a model judge all answers."""
        _, model = who_answers(judge.model)
        settings = {"temperature": 0, "seed": self._options.seed}
        chat = RowChat(
            *(self._server, model), system=None, schema=_VERDICT, tools=None, settings=settings
        )
        judged = [one for one in self._found.values() if one.answer is not None]
        for one in self._found.values():
            one.scores[judge.name] = judge.of_no_answer
        requests = [RowRequest(judge.prompt(o.prompt, o.expected, o.answer or "")) for o in judged]
        verdicts = self._answered(f"evaluate, {judge.name} {model}", requests, chat)
        for one, verdict in zip(judged, verdicts, strict=True):
            said = verdict.value["verdict"] if verdict.error is None else None
            one.scores[judge.name] = None if said is None else float(said == "yes")


def _chosen_rows(data: Any, sample: int | None, seed: int) -> list[tuple[int, TableRow]]:
    """Return the rows to evaluate with their places, in the order of the data."""
    rows = list(enumerate(Table(data, "evaluate").rows()))
    if not rows:
        raise NotebookError("The data has no rows.")
    if sample is None or sample >= len(rows):
        return rows
    if sample < 1:
        raise NotebookError(f"sample must be 1 or more; you gave {sample}.")
    chosen = random.Random(seed).sample(range(len(rows)), sample)  # noqa: S311 - not secret
    return [rows[place] for place in sorted(chosen)]


def _row_seed(seed: Any, place: int) -> int | None:
    """Return the seed of a row's request; None for an answer by chance."""
    if seed is None:
        return None
    return random.Random(f"{seed} {place}").getrandbits(31)  # noqa: S311 - not secret


def _expected(expected: str | Callable[[Any], Any] | None, row: TableRow) -> Any:
    if expected is None:
        return None
    value = row.lookup(expected) if isinstance(expected, str) else expected(row.value)
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    return None if isinstance(value, float) and math.isnan(value) else value


def _like(data: Any) -> Any:
    """Return an object from which tables know that they must be of polars; None otherwise."""
    if not from_library(data, "polars"):
        return None
    import polars

    return polars.Series([], dtype=polars.String)
