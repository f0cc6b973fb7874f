"""A progress bar for a cell or a terminal. A line of plain text remains when it ends."""

import html
import sys
import time
from importlib.util import find_spec
from typing import Any, Protocol

from mlx_notebook.notebook.human_units import format_bytes, format_duration
from mlx_notebook.notebook.shell import in_kernel, shows_rich_output

UPDATE_SECONDS = 0.25
_TERMINAL_WIDTH = 78


class ProgressBar(Protocol):
    """Shows the progress of a download, of loading a model, or of a job."""

    def update(self, event: dict[str, Any]) -> None:
        """Show an event of `mlx/models/download` or `mlx/models/load`."""

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show `text`, and how far it is: `done` of `total`, if that is known."""

    def end(self, text: str) -> None:
        """Replace the bar with `text`."""


def progress_bar(name: str) -> ProgressBar:
    """Choose the bar for the place where this code runs: widgets, a cell, or a terminal."""
    if not shows_rich_output():
        return TerminalBar(name)
    return WidgetBar(name) if find_spec("ipywidgets") else CellBar(name)


def line(name: str, event: dict[str, Any]) -> str:
    """Describe the progress in words."""
    done, total, left = event["done"], event["total"], event["seconds_left"]
    doing = "downloading" if event["phase"] == "downloading" else "loading"
    if not total:
        return f"{name}: {doing}"
    text = f"{name}: {doing}, {format_bytes(done)} of {format_bytes(total)}"
    return text if left is None else f"{text}, {format_duration(left)} left"


class CellBar:
    """A line of text in a cell, which is replaced as it changes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handle: Any = None
        self._shown_at = 0.0

    def update(self, event: dict[str, Any]) -> None:
        """Show an event, at most four times a second."""
        self.show(line(self._name, event), event["done"], event["total"])

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show `text`, at most four times a second."""
        now = time.monotonic()
        if now - self._shown_at >= UPDATE_SECONDS:
            self._shown_at = now
            self._show(text)

    def end(self, text: str) -> None:
        """Replace the line with `text`."""
        self._show(text)

    def _show(self, text: str) -> None:
        bundle = {"text/plain": text, "text/html": f"<div>{html.escape(text)}</div>"}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


class WidgetBar(CellBar):
    """A bar of ipywidgets. Text replaces it at the end, because widgets end with the kernel."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._box: Any = None

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show `text` and the bar, at most four times a second."""
        now = time.monotonic()
        if now - self._shown_at < UPDATE_SECONDS:
            return
        self._shown_at = now
        if self._box is None:
            self._open()
        progress, label = self._box.children
        label.value = text
        progress.max = total or 1
        progress.value = done if total else 0

    def end(self, text: str) -> None:
        """Replace the bar with `text`."""
        super().end(text)
        if self._box is not None:
            for child in self._box.children:
                child.close()
            self._box.close()

    def _open(self) -> None:
        import ipywidgets
        from IPython.display import display

        self._box = ipywidgets.VBox(
            [ipywidgets.FloatProgress(value=0, min=0, max=1), ipywidgets.Label()]
        )
        self._handle = display(self._box, display_id=True)  # type: ignore[no-untyped-call]


class TerminalBar:
    """A line of a terminal, which is overwritten as it changes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown_at = 0.0
        self._is_open = False

    def update(self, event: dict[str, Any]) -> None:
        """Show an event, at most four times a second and only in a terminal or console."""
        self.show(line(self._name, event), event["done"], event["total"])

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show `text`, at most four times a second and only in a terminal or console."""
        now = time.monotonic()
        if (sys.stdout.isatty() or in_kernel()) and now - self._shown_at >= UPDATE_SECONDS:
            self._shown_at, self._is_open = now, True
            print(f"\r{text[:_TERMINAL_WIDTH]:<{_TERMINAL_WIDTH}}", end="", flush=True)

    def end(self, text: str) -> None:
        """Replace the line with `text`."""
        print(f"\r{text:<{_TERMINAL_WIDTH}}" if self._is_open else text)
