"""Show an answer as plain text while it is streamed."""

import sys
from typing import Any

from mlx_notebook.notebook.answers.answer import Answer, Delta
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.plain_text import ControlFilter, visible
from mlx_notebook.notebook.rendering.tool_call_block import tool_call_bundle
from mlx_notebook.notebook.shell import cell_number


class SilentRenderer:
    """Shows nothing."""

    def show_images(self, images: list[dict[str, Any]]) -> None:
        """Do nothing."""

    def begin(self, model: str) -> None:
        """Do nothing."""

    def add(self, delta: Delta) -> None:
        """Do nothing."""

    def end(self, answer: Answer) -> None:
        """Do nothing."""


class TerminalRenderer:
    """Writes the text of an answer as it is streamed, for terminals and scripts."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._filter = ControlFilter()

    def show_images(self, images: list[dict[str, Any]]) -> None:
        """Print how many images go with the prompt."""
        print(f"[{plural(len(images), 'image')}]")

    def begin(self, model: str) -> None:
        """Do nothing, because not every terminal can erase a note."""

    def add(self, delta: Delta) -> None:
        """Write more of the answer."""
        if delta.call is not None:
            if delta.kind == "asking":
                print("\n" if self._kind else "", flush=True, end="")
            if delta.kind == "result":
                before = "\n\n" if self._kind else ""
                self._kind = delta.kind
                sys.stdout.write(f"{before}[tool] {tool_call_bundle(delta.call)['text/plain']}")
                sys.stdout.flush()
            return
        if delta.kind != self._kind:
            before = "\n\n" if self._kind else ""
            sys.stdout.write(before + ("[reasoning] " if delta.kind == "reasoning" else ""))
            self._kind = delta.kind
        sys.stdout.write(self._filter.feed(delta.text))
        sys.stdout.flush()

    def end(self, answer: Answer) -> None:
        """Write the summary line."""
        sys.stdout.write(self._filter.end())
        answer.shown_in = cell_number()
        print(f"\n[{visible(answer.summary())}]")


class RawRenderer(SilentRenderer):
    """Writes the text of the answer as it is streamed, and nothing else.

    Parameters
    ----------
    keep_control
        Whether to write terminal control sequences too.
    """

    def __init__(self, *, keep_control: bool = False) -> None:
        self._filter = None if keep_control else ControlFilter()

    def add(self, delta: Delta) -> None:
        """Write more of the answer."""
        if delta.kind == "content":
            self._write(delta.text if self._filter is None else self._filter.feed(delta.text))
        elif delta.kind == "asking":
            self._write("\n")

    def end(self, answer: Answer) -> None:
        """End the line."""
        print("" if self._filter is None else self._filter.end())

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
