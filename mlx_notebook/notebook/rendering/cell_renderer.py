"""Showing an answer while it comes: Markdown in a notebook's cell, plain text in a terminal.

How a cell streams. Jupyter can only replace an output as a whole, so Markdown that grows by
replacing itself sends a long answer over and over: quadratic, and what makes notebooks in VS Code
stutter. Printing deltas is linear, but shows raw Markdown, and putting the rendered text in its
place takes `clear_output`, which wipes whatever else the cell has shown. So an answer has two
outputs while it comes. The upper holds what is settled and is replaced a few times only,
each time when it has grown by a fixed part of its length. The lower holds the last paragraph or
two, short enough to be replaced ten times a second; when the answer is complete the upper holds
all of it and the lower becomes what follows: a tool call, or the summary line. All end
as static Markdown or HTML, which every notebook, GitHub and nbconvert show without a kernel.
"""

import base64
import math
import re
import time
from typing import Any, Protocol

from mlx_notebook.notebook.answers.answer import Answer, Delta
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import image_parts
from mlx_notebook.notebook.escaping import ACTIVE, safe_html, safe_markdown
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.inputs.images import EncodedImage
from mlx_notebook.notebook.plain_text import CONTROL, visible
from mlx_notebook.notebook.rendering.text_renderers import SilentRenderer, TerminalRenderer
from mlx_notebook.notebook.rendering.tool_call_block import tool_call_bundle
from mlx_notebook.notebook.shell import cell_number, shows_rich_output

UPDATE_SECONDS = 0.1
# A lower output longer than this many characters is replaced less often.
_CHARACTERS_PER_SECOND = 20_000
_SETTLE_CHARACTERS = 1200
_REASONING_SHOWN = 1000
# How wide an image is shown, in pixels: one that goes to the model, one that a tool returned.
_SENT_WIDTH = 240
_RESULT_WIDTH = 480

_CODE_FONT = '<div style="font-family: var(--jp-code-font-family, monospace)">'
_FENCE = re.compile(r"^ *(`{3,}|~{3,})")
# What a terminal would obey: a model must not move the cursor or set the window's title.
_CONTROL = re.compile(rf"[{CONTROL}]")

# What in a line of Markdown is more than text: HTML, images, links, code, formulas, emphasis.
_MARKS = re.compile(r"[<>&\[\]`$*~\\]|(?<!\w)_|_(?!\w)")


class AnswerRenderer(Protocol):
    """Where an answer is shown as it comes."""

    def sent(self, images: list[dict[str, Any]]) -> None:
        """Show the images that go along with the prompt."""

    def begin(self, model: str) -> None:
        """Say that an answer is being waited for."""

    def add(self, delta: Delta) -> None:
        """Show more of it, now or with what follows."""

    def end(self, answer: Answer) -> None:
        """Show all that came, and the summary line."""


def view(wanted: "bool | AnswerRenderer" = True, *, language: str | None = None) -> AnswerRenderer:
    """Choose the view: the one that is given, none, or what fits where this code runs.

    `language` is for an answer that is code, see `CellRenderer`.
    """
    if not isinstance(wanted, bool):
        return wanted
    if not wanted:
        return SilentRenderer()
    return CellRenderer(language) if shows_rich_output() else TerminalRenderer()


class CellRenderer:
    """Outputs of a cell, in order: for each reply its text, and below it a block a tool call.

    Each reply streams in two outputs, what is settled and what still grows (see the module). The
    lower one is free again when the reply is whole, and is taken by what comes next.

    Parameters
    ----------
    language
        What the answer's text is where it is no Markdown, such as `json`; it is shown as code.
    """

    def __init__(self, language: str | None = None) -> None:
        self._opening = f"```{language}\n" if language else ""
        self._model = ""
        self._free: Any = None
        # The output above a question: what comes of the call stands below it.
        self._above: Any = None
        self._blocks: dict[int, Any] = {}
        self._running: set[int] = set()
        self._renew()

    def _renew(self) -> None:
        self._upper: Any = None
        self._lower: Any = None
        self._settled = ""
        self._tail = ""
        self._reasoning = ""
        self._reopen = ""
        self._shown_at = -math.inf

    def sent(self, images: list[dict[str, Any]]) -> None:
        """Show the images that go along with the prompt, small."""
        for image in images:
            _display_image(image, _SENT_WIDTH)

    def begin(self, model: str) -> None:
        """Say that an answer is being waited for."""
        self._model = model
        self._renew()
        self._upper = self._show(f"<small>waiting for {_inline(model)}</small>")

    def add(self, delta: Delta) -> None:
        """Show more of the answer, at most ten times a second."""
        self._above = None
        match delta.kind, delta.call:
            case "asking", ToolCall() as call:
                self._add_question(call)
                return
            case "call" | "result", ToolCall() as call:
                self._add_call(call, ended=delta.kind == "result")
                return
            case "reasoning", _:
                self._reasoning += delta.text
            case "content", _:
                if self._settled == self._tail == "" and self._reasoning:
                    self._update_upper()
                if self._opening and not self._reopen:
                    self._reopen = self._opening
                self._tail += delta.text
        now = time.monotonic()
        wait = max(UPDATE_SECONDS, len(self._tail) / _CHARACTERS_PER_SECOND)
        if now - self._shown_at < wait:
            return
        if delta.kind == "writing":
            self._update_writing(delta.call)
        else:
            if len(self._tail) > max(_SETTLE_CHARACTERS, len(self._settled) // 8):
                self._settle()
            self._update_lower()
        # After the update: where a frontend is slow to take it, leave it the same time again.
        self._shown_at = time.monotonic()

    def end(self, answer: Answer) -> None:
        """Put everything into its upper output, and the summary into the last."""
        answer.shown_in = cell_number()
        if answer.outcome == "paused":
            self._free = self._free or self._above  # nobody could be asked, or has answered
        for call in answer.calls:
            if id(call) in self._running or id(call) not in self._blocks:
                self._close_reply()
                self._show_block(call)
        waits = self._upper is not None
        if self._close_reply() or answer.calls:
            pass
        elif waits:
            stopped = answer.outcome == "interrupted"
            note = "Interrupted before the first word" if stopped else "no answer"
            _update(self._free, f"<small>{note}</small>", note)
            self._free = None
        if answer.outcome == "failed" and self._free is None and not answer.calls:
            return  # the error that follows says all
        summary = answer.summary()
        self._show(f"<small>{_inline(summary)}</small>", summary)

    def _close_reply(self) -> bool:
        """Show a reply as it stays; say whether it has said anything."""
        text = self._settled + self._tail
        said = bool(text or self._reasoning)
        if said:
            reasoning = reasoning_block(self._reasoning, running=False)
            shown = in_code_font(self._shown(text))
            _update(self._upper, reasoning + shown, _CONTROL.sub("", text))
            self._free = self._lower
        elif self._upper is not None:
            self._free = self._upper
        self._renew()
        return said

    def _add_question(self, call: ToolCall) -> None:
        self._close_reply()
        name = _inline(visible(call.name))
        note = f"<small>{_inline(self._model)} asks for {name}:</small>"
        self._above = self._show(note, f"{self._model} asks for {visible(call.name)}:")

    def _add_call(self, call: ToolCall, *, ended: bool) -> None:
        self._close_reply()
        self._show_block(call)
        if not ended:
            self._running.add(id(call))
            return
        self._running.discard(id(call))
        for image in image_parts(call.content):
            _display_image(image, _RESULT_WIDTH)
        if not self._running:
            self.begin(self._model)

    def _show_block(self, call: ToolCall) -> None:
        bundle = tool_call_bundle(call)
        block = self._blocks.get(id(call))
        if block is not None:
            block.update(bundle, raw=True)
        elif self._free is not None:
            self._free.update(bundle, raw=True)
            self._blocks[id(call)], self._free = self._free, None
        else:
            self._blocks[id(call)] = _display_bundle(bundle)

    def _show(self, markdown: str, plain: str = "") -> Any:
        """Show something below all else, in the output that is free if one is."""
        handle, self._free = self._free, None
        if handle is None:
            return _display(markdown, plain)
        _update(handle, markdown, plain)
        return handle

    def _shown(self, text: str) -> str:
        """Write a reply's text, or what of it is settled, as Markdown."""
        if self._opening and text:
            return safe_markdown(f"{self._opening}{text}\n```")
        return safe_markdown(text)

    def _settle(self) -> None:
        cut = settled_length(self._tail, self._reopen, limit=2 * _SETTLE_CHARACTERS)
        if not cut:
            return
        head, self._tail = self._tail[:cut], self._tail[cut:]
        self._reopen = open_fence(self._reopen + head)
        self._settled += head
        self._update_upper()

    def _update_upper(self) -> None:
        reasoning = reasoning_block(self._reasoning, running=False)
        _update(self._upper, reasoning + self._shown(self._settled))

    def _update_lower(self) -> None:
        if self._tail or self._settled:
            text = safe_markdown(self._reopen + self._tail)
        else:
            text = reasoning_block(self._reasoning[-_REASONING_SHOWN:], running=True)
        if self._lower is None:
            if not self._reasoning:
                _update(self._upper, "")  # the note that it waits
            self._lower = _display(text)
        else:
            _update(self._lower, text)

    def _update_writing(self, call: ToolCall | None) -> None:
        """Say which call is being written, below what was said before it."""
        name = call.name if call is not None else ""
        note = f"<small>calling {_inline(_CONTROL.sub('', name))} …</small>"
        text = self._settled + self._tail
        if not text and not self._reasoning:
            _update(self._upper, note)
            return
        reasoning = reasoning_block(self._reasoning, running=False)
        _update(self._upper, reasoning + self._shown(text))
        if self._lower is None:
            self._lower = _display(note)
        else:
            _update(self._lower, note)


def reasoning_block(text: str, *, running: bool) -> str:
    """Write a model's thinking as a block that opens: shown while it runs, closed after.

    It is one line of HTML, all of it escaped, so that no Markdown renderer looks inside.
    """
    if not text.strip():
        return ""
    title = "Reasoning …" if running else f"Reasoning, {plural(len(text.split()), 'word')}"
    body = safe_html(_CONTROL.sub("", text).strip()).replace("\n", "<br>")
    state = " open" if running else ""
    return f"<details{state}><summary>{title}</summary><p>{body}</p></details>\n\n"


def _inline(text: str) -> str:
    """Write a line of text, which may hold a model's words, into Markdown as nothing but text."""
    return _MARKS.sub(lambda mark: mark[0].translate(ACTIVE), text)


def settled_length(text: str, reopen: str, *, limit: int) -> int:
    """Say how much of a growing Markdown text will not change its look with what follows.

    That is up to the last blank line outside fenced code before an unindented line; or, where
    the text is longer than `limit` characters, its last whole line. `reopen` is the line that
    opened the fence in which the text begins, if it begins in one.
    """
    marks = reopen.strip()[:3]
    position = cut = 0
    blank = False
    for line in text.splitlines(keepends=True):
        if blank and not marks and not line[0].isspace():
            cut = position
        fence = _FENCE.match(line)
        if fence and not marks:
            marks = fence[1]
        elif fence and fence[1].startswith(marks) and line.strip() == fence[1]:
            marks = ""
        blank = not line.strip()
        position += len(line)
    if not cut and len(text) > limit:
        cut = text.rfind("\n") + 1
    return cut


def in_code_font(markdown: str) -> str:
    """Name the font of each code block that has a language.

    nbconvert colours such a block, and its HTML template then gives it the font of the text around.
    """
    parts: list[str] = []
    opened = ""
    for line in markdown.splitlines(keepends=True):
        fence = _FENCE.match(line)
        closes = fence and line.strip() == fence[1] and fence[1].startswith(opened.strip()[:3])
        if fence and not opened:
            opened = line
            if _has_language(opened):
                parts.append(f"\n{_CODE_FONT}\n\n")
            parts.append(line)
        elif opened and closes:
            parts.append(line)
            if _has_language(opened):
                end = "" if line.endswith("\n") else "\n"
                parts.append(f"{end}\n</div>\n\n")
            opened = ""
        else:
            parts.append(line)
    return "".join(parts)


def _has_language(fence: str) -> bool:
    """Whether a line opens a code block with a language, outside lists and quotes."""
    return fence[0] in "`~" and bool(fence.strip("`~ \n"))


def open_fence(text: str) -> str:
    """Give the line that opened the fence in which a text ends; empty where it ends in none."""
    opened = ""
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line)
        if fence and not opened:
            opened = line
        elif fence and line.strip() == fence[1] and fence[1].startswith(opened.strip()[:3]):
            opened = ""
    return opened


def _display(markdown: str, plain: str = "") -> Any:
    return _display_bundle(_bundle(markdown, plain))


def _display_bundle(bundle: dict[str, str]) -> Any:
    from IPython.display import display

    show: Any = display  # it comes without types
    return show(bundle, raw=True, display_id=True)


def _update(handle: Any, markdown: str, plain: str = "") -> None:
    if handle is not None:
        handle.update(_bundle(markdown, plain), raw=True)


def _display_image(part: dict[str, Any], width: int) -> None:
    """Show a message's image as a static output, at most `width` pixels wide."""
    from IPython.display import display

    # Twice as many pixels as are shown, for screens that have them.
    small = EncodedImage.thumbnail(part, 2 * width)
    show: Any = display
    show(
        {
            "image/png": base64.b64encode(small.png).decode(),
            "text/plain": f"[image, {small.width} x {small.height}]",
        },
        metadata={"image/png": {"width": min(width, small.width)}},
        raw=True,
    )


def _bundle(markdown: str, plain: str) -> dict[str, str]:
    # The plain form matters in what is kept; while text streams it would double what is sent.
    return {"text/markdown": markdown, **({"text/plain": plain} if plain else {})}
