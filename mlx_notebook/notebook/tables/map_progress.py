"""The progress of `map` and `embed`: rows, speed, time left, and the first answers."""

import html
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from mlx_notebook.notebook.human_units import format_duration, plural
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.shell import in_kernel, shows_rich_output

_ESTIMATED_AFTER = 20
_PREVIEWED, _PREVIEW_CHARACTERS = 3, 120
_TERMINAL_WIDTH = 78


@dataclass
class MapState:
    """How far the work is. The thread that sends requests changes it; another one shows it.

    Attributes
    ----------
    total
        The number of rows; None for an iterator.
    name
        What the lines begin with: `map` or `embed`.
    cached
        Rows that were answered by the file of earlier answers.
    asked
        Rows that a request has answered, or could not.
    in_flight
        Requests that are under way.
    waits_for_server
        Whether the server does not answer at the moment.
    first_error
        Why the first row that failed did.
    first
        The first answers, as text.
    """

    total: int | None
    name: str = "map"
    done: int = 0
    cached: int = 0
    failed: int = 0
    tokens: int = 0
    asked: int = 0
    in_flight: int = 0
    waits_for_server: bool = False
    first_error: str | None = None
    first: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, text: str | None, tokens: int, *, error: str | None, cached: bool) -> None:
        """Count a row, and keep the first texts for the preview."""
        self.done += 1
        self.cached += cached
        self.tokens += tokens
        if error is not None:
            self.failed += 1
            self.first_error = self.first_error or error
        if text is not None and len(self.first) < _PREVIEWED:
            self.first.append(visible(text)[:_PREVIEW_CHARACTERS])

    def line(self) -> str:
        """Describe the progress in words."""
        answered = self.done - self.cached
        seconds = time.monotonic() - self.began
        total = f"{self.total:,} rows" if self.total is not None else "rows"
        of = " of" if self.total is not None else ""
        parts = [f"{self.done:,}{of} {total}"]
        if answered >= _ESTIMATED_AFTER and seconds > 0:
            rate = answered / seconds
            parts.append(f"{rate:.1f} rows/s")
            if self.total is not None:
                left = self.total - self.done
                parts.append(f"{format_duration(left / rate)} left")
                parts.append(f"about {self.tokens * self.total // self.done:,} tokens in all")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.waits_for_server:
            parts.append("waiting for the server, which does not answer")
        return f"{self.name}: " + ", ".join(parts)

    def summary(self) -> str:
        """Describe the end in words."""
        seconds = time.monotonic() - self.began
        parts = [f"{plural(self.done, 'row')} in {format_duration(seconds)}"]
        if self.cached:
            parts.append(f"{self.cached:,} of them answered before")
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens")
        text = f"{self.name}: " + ", ".join(parts)
        if self.first_error is None:
            return text
        which = "" if self.failed == 1 else "the first "
        return f"{text}, {self.failed:,} failed, {which}because: {visible(self.first_error)}"


class MapView:
    """Shows a `MapState` in a cell or a terminal. A line of text remains."""

    def __init__(self, state: MapState, *, shown: bool) -> None:
        self._state = state
        self._rich = shown and shows_rich_output()
        self._plain = shown and not self._rich and (sys.stdout.isatty() or in_kernel())
        self._handle: Any = None
        self._wrote = False

    def update(self) -> None:
        """Show the progress."""
        text = self._state.line()
        if self._rich:
            self._display(text, _html(self._state, text))
        elif self._plain:
            print(f"\r{text[:_TERMINAL_WIDTH]:<{_TERMINAL_WIDTH}}", end="", flush=True)
            self._wrote = True

    def end(self, note: str = "") -> None:
        """Replace the progress with a summary, and a note if there is one."""
        text = self._state.summary().removesuffix(".") + "." + (f" {note}" if note else "")
        if self._rich:
            self._display(text, f"<div>{html.escape(text)}</div>")
        elif self._plain:
            print(f"\r{text:<{_TERMINAL_WIDTH}}" if self._wrote else text)

    def _display(self, text: str, markup: str) -> None:
        bundle = {"text/plain": text, "text/html": markup}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


def _html(state: MapState, text: str) -> str:
    value = f' value="{state.done}" max="{state.total or 1}"' if state.total else ""
    bar = f'<progress{value} style="width: 100%" aria-label="Rows of the table"></progress>'
    items = "".join(f"<li>{html.escape(one)}</li>" for one in state.first)
    preview = f"<ol>{items}</ol>" if items else ""
    return f"<div>{bar}<div>{html.escape(text)}</div>{preview}</div>"
