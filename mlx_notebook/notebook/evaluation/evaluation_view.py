"""An evaluation in a cell: its table, and rows to look at. Static, and everything escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.evaluation.evaluation_file import EvaluatedRow
from mlx_notebook.notebook.evaluation.intervals import Interval
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.inputs.as_text import trimmed
from mlx_notebook.notebook.plain_text import visible

_SHOWN_ROWS, _SHOWN_CHARACTERS = 10, 300
# JupyterLab aligns text in tables to the right.
_LEFT = ' style="text-align: left"'
_NOTE = "Means with their 95 % confidence intervals."


@dataclass(frozen=True)
class Summary:
    """What is shown: the cells of the table, and answers on which models disagree."""

    head: Sequence[str]
    body: Sequence[Sequence[str]]
    metric: str | None
    labels: Sequence[str]
    disagreeing: Sequence[Sequence[EvaluatedRow]]


def bundle(summary: Summary) -> dict[str, str]:
    """Return the MIME bundle of an evaluation."""
    note = _NOTE if summary.metric is not None else ""
    body = [_html_table(summary.head, [[visible(c) for c in row] for row in summary.body])]
    body.append(f"<small>{note}</small>")
    if summary.disagreeing:
        body.append(_details(summary))
    return {
        "text/html": f"<div>{''.join(body)}</div>",
        "text/plain": "\n".join([*_lines(summary), *([note] if note else [])]),
    }


def _lines(summary: Summary) -> list[str]:
    rows = [summary.head, *([visible(cell) for cell in row] for row in summary.body)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(summary.head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _details(summary: Summary) -> str:
    count = len(summary.disagreeing)
    alone = len(summary.labels) == 1
    verb = "not answered as expected" if alone else "on which they disagree"
    title = f"{plural(count, 'row')} {verb}, by {summary.metric}"
    if count > _SHOWN_ROWS:
        title += f" (the first {_SHOWN_ROWS})"
    head = ["row", "prompt", "expected", *summary.labels]
    rows = []
    for group in summary.disagreeing[:_SHOWN_ROWS]:
        first = group[0]
        expected = "" if first.expected is None else str(first.expected)
        by_label = {one.label: one for one in group}
        answers = [_answer(by_label.get(label), summary.metric) for label in summary.labels]
        rows.append([str(first.row), first.prompt, expected, *answers])
    return f"<details><summary>{safe_html(title)}</summary>{_html_table(head, rows)}</details>"


def _answer(row: EvaluatedRow | None, metric: str | None) -> str:
    if row is None:
        return ""
    score = row.scores.get(metric or "")
    shown = "no score" if score is None else f"{score:g}"
    return f"{row.answer if row.answer is not None else row.error} ({shown})"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f'<th scope="col"{_LEFT}>{_cell(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td{_LEFT}>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    shown = visible(trimmed(text, _SHOWN_CHARACTERS), keep="\n")
    return safe_html(shown).replace("\n", "<br>")


def figure(labels: Sequence[str], scores: Mapping[str, Sequence[Interval | None]]) -> Any:
    """Draw a panel for each metric: the models, their means and intervals."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise NotebookError("Plots need matplotlib: %pip install matplotlib.") from None
    if not scores:
        raise NotebookError("There are no scores to draw: evaluate with metrics first.")
    size = (1.5 + 3.2 * len(scores), 1.2 + 0.4 * len(labels))
    made, axes = pyplot.subplots(
        1, len(scores), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (metric, intervals) in zip(axes[0], scores.items(), strict=True):
        for place, interval in enumerate(intervals):
            if interval is None:
                continue
            mean, low, high = interval
            away = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            axis.errorbar([mean], [place], xerr=away, fmt="o", capsize=4, color="tab:blue")
            axis.annotate(
                f"{mean:.2f}", (mean, place), (0, 6), textcoords="offset points", ha="center"
            )
        axis.set_yticks(range(len(labels)), [_plain_label(label) for label in labels])
        axis.set_ylim(len(labels) - 0.5, -0.6)
        axis.set_title(_plain_label(metric))
        axis.grid(axis="x", alpha=0.3)
        axis.margins(x=0.1)
    pyplot.close(made)
    return made


def _plain_label(text: str) -> str:
    """Return a name in which matplotlib finds no formula."""
    return visible(text).replace("$", r"\$")
