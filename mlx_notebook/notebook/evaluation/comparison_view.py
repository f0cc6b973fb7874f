"""Answers side by side in a cell: one column each, replaced while they grow, static at the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.rendering.cell_renderer import reasoning_block
from mlx_notebook.notebook.shell import shows_rich_output

_UPDATE_SECONDS = 0.2
# All answers are sent with each update, so that long ones are replaced less often.
_CHARACTERS_PER_SECOND = 20_000
_TOP_LEFT = "text-align: left; vertical-align: top; white-space: normal"


@dataclass
class ComparedAnswer:
    """The answer of one model while it grows.

    Attributes
    ----------
    label
        What answers.
    answer
        The answer so far; None before its beginning.
    failure
        Why there is none, or why it ended early.
    is_running
        Whether more may come.
    """

    label: str
    answer: Answer | None = None
    failure: NotebookError | None = None
    is_running: bool = False

    @property
    def error(self) -> str | None:
        """The failure in one sentence."""
        return None if self.failure is None else str(self.failure)

    @property
    def text(self) -> str:
        """What the model said so far."""
        return self.answer.text if self.answer is not None else ""

    def state(self) -> str:
        """Describe how it ended, or that it has not."""
        if self.failure is not None:
            return f"failed: {self.failure}"
        if self.answer is None:
            return "waiting"
        if self.is_running:
            return "answering …"
        return _ending(self.answer)


class ComparisonView:
    """Shows answers while they grow: in a cell side by side, in a terminal one below the other."""

    def __init__(
        self, compared: Sequence[ComparedAnswer], note: str | None, *, shown: bool
    ) -> None:
        self._compared, self._note, self._shown = compared, note, shown
        self._rich = shown and shows_rich_output()
        self._handle: Any = None
        self._seen: tuple[Any, ...] = ()
        self._at = 0.0

    def update(self) -> None:
        """Show what is new, at most five times a second."""
        seen = tuple((len(one.text), one.state(), _reasoning(one)) for one in self._compared)
        pause = max(_UPDATE_SECONDS, sum(entry[0] for entry in seen) / _CHARACTERS_PER_SECOND)
        if self._rich and seen != self._seen and time.monotonic() - self._at >= pause:
            self._seen = seen
            self._show()
            # Measured after the update, so that a slow frontend gets more time.
            self._at = time.monotonic()

    def end(self) -> None:
        """Show all answers."""
        if self._rich:
            self._show()
        elif self._shown:
            print(comparison_bundle(self._compared, self._note)["text/plain"])

    def _show(self) -> None:
        bundle = comparison_bundle(self._compared, self._note)
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


def comparison_bundle(compared: Sequence[ComparedAnswer], note: str | None) -> dict[str, str]:
    """Return the MIME bundle of answers side by side."""
    head = "".join(
        f'<th scope="col" style="{_TOP_LEFT}">{safe_html(visible(one.label))}</th>'
        for one in compared
    )
    texts = "".join(f'<td style="{_TOP_LEFT}">{_html(one)}</td>' for one in compared)
    states = "".join(
        f'<td style="{_TOP_LEFT}"><small>{_lines(one.state())}</small></td>' for one in compared
    )
    above = f"<p>{safe_html(note)}</p>" if note is not None else ""
    table = (
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody><tr>{texts}</tr><tr>{states}</tr></tbody></table>"
    )
    return {
        "text/html": f"<div>{above}{table}</div>",
        "text/plain": "\n\n".join([*([note] if note else []), *map(_plain, compared)]),
    }


def _ending(answer: Answer) -> str:
    parts = []
    if answer.completion_tokens is not None:
        parts.append(plural(answer.completion_tokens, "token"))
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    if answer.first_token is not None:
        parts.append(f"first token after {answer.first_token:.2f} s")
    if answer.outcome != "complete":
        parts.append(answer.outcome)
    elif answer.finish_reason == "length":
        parts.append("cut off at the token limit")
    return " · ".join(parts)


def _html(one: ComparedAnswer) -> str:
    reasoning = reasoning_block(visible(_reasoning(one), keep="\n\t"), running=False).strip()
    return reasoning + _lines(one.text.strip())


def _lines(text: str) -> str:
    return safe_html(visible(text, keep="\n\t")).replace("\n", "<br>")


def _plain(one: ComparedAnswer) -> str:
    text = visible(one.text.strip(), keep="\n\t")
    state = visible(one.state())
    return "\n".join([f"{visible(one.label)}:", *([text] if text else []), f"[{state}]"])


def _reasoning(one: ComparedAnswer) -> str:
    return one.answer.reasoning if one.answer is not None else ""
