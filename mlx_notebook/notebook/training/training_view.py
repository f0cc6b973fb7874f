"""What a cell shows of a training: progress, loss curves, and what the adapter says so far."""

import html
import sys
from typing import Any

from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.human_units import format_duration
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.shell import in_kernel, shows_rich_output
from mlx_notebook.notebook.training.loss_chart import in_words, loss_chart, loss_rows

_TERMINAL_WIDTH = 98
# JupyterLab aligns text in tables to the right.
_LEFT = ' style="text-align: left; vertical-align: top"'


class TrainingView:
    """Shows a training while it runs. What it shows last remains in a saved notebook.

    Attributes
    ----------
    train, validation
        The curves so far: steps and losses.
    samples
        For each prompt what is expected, and the answers by step.
    """

    def __init__(self, *, shown: bool) -> None:
        self.train: list[tuple[int, float]] = []
        self.validation: list[tuple[int, float]] = []
        self.samples: dict[int, dict[str, Any]] = {}
        self._rate = 0.0
        self._rich = shown and shows_rich_output()
        self._plain = shown and not self._rich
        self._live = self._plain and (sys.stdout.isatty() or in_kernel())
        self._words: Any = None
        self._image: Any = None
        self._told: set[str] = set()

    def update(self, job: dict[str, Any], records: list[dict[str, Any]]) -> None:
        """Take a job's state and what is new in its records, and show them."""
        for record in records:
            self._take(record["name"], record["values"])
        text = self._line(job)
        if self._rich:
            self._show(job, text)
            return
        if self._plain:
            self._print(job, text)

    def _take(self, name: str, values: dict[str, Any]) -> None:
        if name == "train":
            self.train.append((int(values["step"]), float(values["loss"])))
            self._rate = float(values["tokens_per_second"])
        elif name == "validation":
            self.validation.append((int(values["step"]), float(values["loss"])))
        elif name == "sample":
            sample = self.samples.setdefault(int(values["number"]), {"answers": {}})
            sample["prompt"], sample["expected"] = values["prompt"], values["expected"]
            sample["answers"][int(values["step"])] = values["text"]

    def _line(self, job: dict[str, Any]) -> str:
        """Describe the training in words."""
        title = str(job["title"])
        ended = {"finished": "done", "failed": "failed", "stopped": "stopped"}.get(job["state"])
        parts = [ended or str(job["phase"])]
        if job["total"]:
            parts = [f"step {job['done']:,} of {job['total']:,}"]
            if ended:
                parts.insert(0, ended)
            elif self._rate:
                parts.append(f"{self._rate:,.0f} tokens/s")
            if job["seconds_left"] is not None:
                parts.append(f"{format_duration(job['seconds_left'])} left")
        if ended and job["started"] and job["ended"]:
            parts.append(f"in {format_duration(job['ended'] - job['started'])}")
        if self.train:
            parts.append(in_words(self.train, self.validation))
        return f"{title}: {', '.join(parts)}"

    def _show(self, job: dict[str, Any], text: str) -> None:
        from IPython.display import display

        notes = [*job["notes"], *([job["message"]] if job["message"] else [])]
        plain = "\n".join([text, *notes])
        words = {"text/plain": plain, "text/html": self._html(job, text, notes)}
        if self._words is None:
            self._words = display(words, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._words.update(words, raw=True)
        if not self.train and not self.validation:
            return
        image = {
            "image/svg+xml": loss_chart(self.train, self.validation, int(job["total"])),
            "text/plain": in_words(self.train, self.validation),
        }
        if self._image is None:
            self._image = display(image, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._image.update(image, raw=True)

    def _html(self, job: dict[str, Any], text: str, notes: list[str]) -> str:
        running = job["state"] in ("running", "stopping") and job["total"]
        bar = (
            f'<progress value="{job["done"]}" max="{job["total"]}" style="width: 100%" '
            'aria-label="Steps of the training"></progress>'
            if running
            else ""
        )
        shown_notes = "".join(f"<p>{safe_html(note)}</p>" for note in notes)
        return (
            f"<div>{bar}<p>{safe_html(text)}</p>{shown_notes}{self._samples()}{self._table()}</div>"
        )

    def _samples(self) -> str:
        """Write what the model said before, and what it says now."""
        rows = []
        for sample in self.samples.values():
            steps = sorted(sample["answers"])
            cells = [sample["prompt"], sample["expected"], sample["answers"][steps[0]]]
            cells.append(sample["answers"][steps[-1]] if len(steps) > 1 else "")
            rows.append(
                "<tr>"
                + "".join(f"<td{_LEFT}>{safe_html(str(cell))}</td>" for cell in cells)
                + "</tr>"
            )
        if not rows:
            return ""
        last = max(step for one in self.samples.values() for step in one["answers"])
        names = ("Prompt", "Expected", "Before", f"After {last:,} steps")
        head = "".join(f'<th scope="col"{_LEFT}>{html.escape(name)}</th>' for name in names)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

    def _table(self) -> str:
        rows = "".join(
            f"<tr><td>{step:,}</td><td>{train}</td><td>{validation}</td></tr>"
            for step, train, validation in loss_rows(self.train, self.validation)
        )
        if not rows:
            return ""
        head = "".join(
            f'<th scope="col">{name}</th>' for name in ("Step", "Training", "Validation")
        )
        return (
            f"<details><summary>Losses as a table</summary><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></details>"
        )

    def _print(self, job: dict[str, Any], text: str) -> None:
        for note in job["notes"]:
            if note not in self._told:
                self._told.add(note)
                print(f"\r{visible(note):<{_TERMINAL_WIDTH}}" if self._live else visible(note))
        ended = job["state"] in ("finished", "stopped", "failed")
        if ended:
            print(f"\r{visible(text):<{_TERMINAL_WIDTH}}" if self._live else visible(text))
        elif self._live:
            print(f"\r{visible(text)[:_TERMINAL_WIDTH]:<{_TERMINAL_WIDTH}}", end="", flush=True)
