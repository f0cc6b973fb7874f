"""An answer as plain text, while it comes: in a terminal, or on its own."""

import sys
from typing import Any

from mlx_notebook.notebook.answers.answer import Answer, Delta
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.plain_text import ControlFilter, visible
from mlx_notebook.notebook.rendering.tool_call_block import tool_call_bundle
from mlx_notebook.notebook.shell import cell_number


class SilentRenderer:
    """Shows nothing."""

    def sent(self, images: list[dict[str, Any]]) -> None:
        """Nothing."""

    def begin(self, model: str) -> None:
        """Nothing."""

    def add(self, delta: Delta) -> None:
        """Nothing."""

    def end(self, answer: Answer) -> None:
        """Nothing."""


class TerminalRenderer:
    """Text written as it comes, for `ipython` in a terminal and plain scripts."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._filter = ControlFilter()

    def sent(self, images: list[dict[str, Any]]) -> None:
        """Say how many images go along with the prompt."""
        print(f"[{plural(len(images), 'image')}]")

    def begin(self, model: str) -> None:
        """Wait in silence: what a terminal has shown cannot be taken back everywhere."""

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
    """The answer's text as it comes, and nothing else.

    Parameters
    ----------
    keep_control
        Also write control sequences, which a terminal would obey.
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
