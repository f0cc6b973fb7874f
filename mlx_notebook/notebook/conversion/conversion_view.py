"""Shows a conversion while it runs: what it does, how far it is, and what it tells."""

from typing import Any

from mlx_notebook.notebook.human_units import format_bytes, format_duration
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.rendering.progress import ProgressBar, progress_bar

_ENDED = ("finished", "stopped", "failed")


class ConversionView:
    """Shows a job in one line of a cell or a terminal; nothing if not `shown`."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: ProgressBar | None = None
        self._told: set[str] = set()

    def update(self, job: dict[str, Any], _: list[dict[str, Any]]) -> None:
        """Show a job's state."""
        if not self._shown:
            return
        for note in job["notes"]:
            if note not in self._told:
                self._told.add(note)
                print(visible(note))
        self._bar = self._bar or progress_bar(str(job["title"]))
        if job["state"] in _ENDED:
            if job["state"] != "finished":
                self._bar.end(f"{job['title']}: {job['state']}.")
            return
        self._bar.show(_words(job), job["done"], job["total"])

    def end(self, text: str) -> None:
        """Replace the line with the result."""
        if self._shown and self._bar is not None:
            self._bar.end(text)


def _words(job: dict[str, Any]) -> str:
    """Describe how far a job is."""
    parts = [f"{job['title']}: {job['phase']}"]
    if job["total"]:
        done, total = job["done"], job["total"]
        if job["unit"] == "bytes":
            parts.append(f"{format_bytes(done)} of {format_bytes(total)}")
        else:
            parts.append(f"{done:,} of {total:,} {job['unit']}")
    if job["seconds_left"] is not None:
        parts.append(f"{format_duration(job['seconds_left'])} left")
    return ", ".join(parts)
