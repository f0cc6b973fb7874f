"""The result of `evaluate`: a table with confidence intervals, a plot, and rows to look at."""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.evaluation import evaluation_view
from mlx_notebook.notebook.evaluation.evaluation_file import EvaluatedRow, add_rows, read_rows
from mlx_notebook.notebook.evaluation.intervals import Interval, difference, interval_of
from mlx_notebook.notebook.tables.table_rows import Table


class Evaluation:
    """The answers of models to the rows of a table, and their scores.

    Attributes
    ----------
    answers
        One `EvaluatedRow` for each answer.
    labels
        What answered: models, with their settings where these differ.
    metrics
        Names of the metrics.
    seed
        Seed of the confidence intervals.
    """

    def __init__(self, answers: Sequence[EvaluatedRow], *, seed: int = 0, like: Any = None) -> None:
        self.answers = sorted(answers, key=lambda one: one.row)
        self.labels = list(dict.fromkeys(one.label for one in answers))
        self.metrics = list(dict.fromkeys(name for one in answers for name in one.scores))
        self.seed = seed
        self._like = [] if like is None else like

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, seed: int = 0) -> "Evaluation":
        """Load the results that `evaluate` or `save` wrote.

        Raises
        ------
        NotebookError
            If the file cannot be read.
        """
        return cls(read_rows(Path(path)), seed=seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Add the results to a file, which `evaluate` can extend.

        Raises
        ------
        NotebookError
            If the file cannot be written.
        """
        add_rows(Path(path), self.answers)

    @property
    def table(self) -> Any:
        """A DataFrame with a row for each model: scores with their intervals, tokens, seconds.

        A metric has three columns: its mean, and the ends of the 95 % confidence interval, `low`
        and `high`. `tokens` are those of all prompts and answers, `seconds` the mean of a request.
        """
        columns: dict[str, list[Any]] = {"model": list(self.labels)}
        kinds: dict[str, Any] = {"model": str, "rows": int, "failed": int}
        columns["rows"] = [len(self.of(label)) for label in self.labels]
        columns["failed"] = [self._failed(label) for label in self.labels]
        for metric in self.metrics:
            found = [self.interval(label, metric) for label in self.labels]
            for place, name in enumerate((metric, f"{metric} low", f"{metric} high")):
                columns[name] = [one[place] if one is not None else None for one in found]
                kinds[name] = float
        columns["tokens"] = [sum(one.tokens for one in self.of(label)) for label in self.labels]
        columns["seconds"] = [self._seconds(label) for label in self.labels]
        return Table(self._like).columns(columns, {**kinds, "tokens": int, "seconds": float})

    @property
    def rows(self) -> Any:
        """A DataFrame with a row for each answer."""
        names = ("row", "label", "prompt", "expected", "answer", "error", "tokens", "seconds")
        columns = {name: [getattr(one, name) for one in self.answers] for name in names}
        kinds: dict[str, Any] = dict.fromkeys(names, str)
        kinds |= {"row": int, "tokens": int, "seconds": float, "expected": object}
        columns["model"] = columns.pop("label")
        kinds["model"] = str
        for metric in self.metrics:
            columns[metric] = [one.scores.get(metric) for one in self.answers]
            kinds[metric] = float
        order = ("row", "model", *names[2:], *self.metrics)
        return Table(self._like).columns({name: columns[name] for name in order}, kinds)

    def of(self, label: str) -> list[EvaluatedRow]:
        """Return the answers of one model, in the order of the rows."""
        return [one for one in self.answers if one.label == label]

    def interval(self, label: str, metric: str) -> Interval | None:
        """Return a model's mean score with its 95 % confidence interval."""
        scores = [one.scores.get(metric) for one in self.of(label)]
        return interval_of([score for score in scores if score is not None], self.seed)

    def differences(self, metric: str | None = None) -> Any:
        """Return how much better each model is than the first one, on the rows that both have.

        Models that answer the same rows differ by less than their intervals suggest. This is the
        interval of the difference itself.

        Parameters
        ----------
        metric
            Which metric; the first one by default.

        Returns
        -------
        DataFrame
            With the columns `model`, `rows`, `difference`, `low` and `high`.
        """
        name = self._metric(metric)
        base = self._scores(self.labels[0], name)
        columns: dict[str, list[Any]] = {"model": self.labels[1:], "rows": []}
        found = []
        for label in self.labels[1:]:
            scores = self._scores(label, name)
            both = sorted(base.keys() & scores.keys())
            columns["rows"].append(len(both))
            pairs = [base[row] for row in both], [scores[row] for row in both]
            found.append(difference(*pairs, self.seed))
        for place, column in enumerate(("difference", "low", "high")):
            columns[column] = [one[place] if one is not None else None for one in found]
        kinds = {"model": str, "rows": int, "difference": float, "low": float, "high": float}
        return Table(self._like).columns(columns, kinds)

    def disagreements(self, metric: str | None = None) -> Any:
        """Return the rows to look at.

        With several models these are the rows for which their scores differ. With one model they
        are those that it did not answer as expected.

        Parameters
        ----------
        metric
            Which metric; the first one by default.

        Returns
        -------
        DataFrame
            With the columns `row`, `prompt`, `expected`, and for each model its answer and score.
        """
        name = self._metric(metric)
        groups = self.disagreeing(name)
        columns: dict[str, list[Any]] = {
            "row": [group[0].row for group in groups],
            "prompt": [group[0].prompt for group in groups],
            "expected": [group[0].expected for group in groups],
        }
        kinds: dict[str, Any] = {"row": int, "prompt": str, "expected": object}
        for label in self.labels:
            by_row = {one.row: one for one in self.of(label)}
            own = [by_row.get(group[0].row) for group in groups]
            columns[label] = [one.answer if one is not None else None for one in own]
            score = f"{name} of {label}"
            columns[score] = [one.scores.get(name) if one is not None else None for one in own]
            kinds |= {label: str, score: float}
        return Table(self._like).columns(columns, kinds)

    def disagreeing(self, metric: str) -> list[list[EvaluatedRow]]:
        """Return the answers to each row on which scores differ, or a single model failed."""
        by_row: dict[int, list[EvaluatedRow]] = {}
        for one in self.answers:
            by_row.setdefault(one.row, []).append(one)
        alone = len(self.labels) == 1
        return [
            group
            for group in by_row.values()
            if len(scores := {one.scores.get(metric) for one in group}) > 1
            or (alone and scores != {1.0})
        ]

    def plot(self, metric: str | None = None) -> Any:
        """Draw the scores of all models, or those of one metric, with their intervals.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        NotebookError
            If matplotlib is not installed.
        """
        names = self.metrics if metric is None else [self._metric(metric)]
        found = {name: [self.interval(label, name) for label in self.labels] for name in names}
        return evaluation_view.figure(self.labels, found)

    def _scores(self, label: str, metric: str) -> dict[int, float]:
        scored = ((one.row, one.scores.get(metric)) for one in self.of(label))
        return {row: score for row, score in scored if score is not None}

    def _metric(self, metric: str | None) -> str:
        if not self.metrics:
            raise NotebookError("There are no scores: evaluate with metrics first.")
        if metric is not None and metric not in self.metrics:
            raise NotebookError(f"There is no metric {metric!r}; there is {_listed(self.metrics)}.")
        return metric or self.metrics[0]

    def _failed(self, label: str) -> int:
        return sum(one.answer is None for one in self.of(label))

    def _seconds(self, label: str) -> float:
        return fmean(one.seconds for one in self.of(label))

    def _summary(self) -> "evaluation_view.Summary":
        head = ["model", *self.metrics, "rows", "failed", "tokens", "seconds a row"]
        body = []
        for label in self.labels:
            of = self.of(label)
            scores = [str(self.interval(label, metric) or "") for metric in self.metrics]
            tokens = sum(one.tokens for one in of)
            counts = [f"{len(of):,}", f"{self._failed(label):,}", f"{tokens:,}"]
            body.append([label, *scores, *counts, f"{self._seconds(label):.2f}"])
        metric = self.metrics[0] if self.metrics else None
        shown = self.disagreeing(metric) if metric is not None else []
        return evaluation_view.Summary(head, body, metric, self.labels, shown)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return evaluation_view.bundle(self._summary())

    def __repr__(self) -> str:
        return evaluation_view.bundle(self._summary())["text/plain"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
