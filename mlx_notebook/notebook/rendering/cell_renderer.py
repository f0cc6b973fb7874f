"""Show an answer while it is streamed: as Markdown in a cell, as plain text in a terminal.

Jupyter can only replace an output as a whole. Markdown that replaces itself as it grows sends the
whole answer again and again: the cost is quadratic, and VS Code stutters. Printing deltas is
linear, but shows raw Markdown; replacing it with rendered text takes `clear_output`, which deletes
the other outputs of the cell.

So an answer has two outputs while it is streamed. The upper one holds the settled text. It is
replaced only when the text has grown by a fixed part of its length. The lower one holds the last
paragraph or two, short enough to be replaced ten times a second. When the answer is complete, the
upper output holds all of it and the lower one is used for what follows: a tool call or the summary
line. All outputs end as static Markdown or HTML, which notebooks, GitHub and nbconvert show without
a kernel.
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
from mlx_notebook.notebook.rendering.code_fences import in_code_font, open_fence, settled_length
from mlx_notebook.notebook.rendering.text_renderers import SilentRenderer, TerminalRenderer
from mlx_notebook.notebook.rendering.tool_call_block import tool_call_bundle
from mlx_notebook.notebook.shell import cell_number, shows_rich_output

UPDATE_SECONDS = 0.1
# A growing output that is longer than this many characters is replaced less often than every 0.1 s.
_CHARACTERS_PER_SECOND = 20_000
_SETTLE_CHARACTERS = 1200
_REASONING_SHOWN = 1000
# Width of an image in pixels: of one in a prompt, and of one from a tool.
_SENT_WIDTH = 240
_RESULT_WIDTH = 480

# A model must not move the cursor of a terminal or set the title of its window.
_CONTROL = re.compile(rf"[{CONTROL}]")

# Marks in a line of Markdown: HTML, images, links, code, formulas, emphasis.
_MARKS = re.compile(r"[<>&\[\]`$*~\\]|(?<!\w)_|_(?!\w)")


class AnswerRenderer(Protocol):
    """Shows an answer while it is streamed."""

    def show_images(self, images: list[dict[str, Any]]) -> None:
        """Show the images of the prompt."""

    def begin(self, model: str) -> None:
        """Show that a model is about to answer."""

    def add(self, delta: Delta) -> None:
        """Show more of the answer, at once or later."""

    def end(self, answer: Answer) -> None:
        """Show the whole answer and the summary line."""


def choose_renderer(
    show: "bool | AnswerRenderer" = True, *, language: str | None = None
) -> AnswerRenderer:
    """Choose a renderer: the given one, none, or the one for the place where this code runs.

    Parameters
    ----------
    wanted
        A renderer, or whether to show the answer at all.
    language
        As for `CellRenderer`.
    """
    if not isinstance(show, bool):
        return show
    if not show:
        return SilentRenderer()
    return CellRenderer(language) if shows_rich_output() else TerminalRenderer()


class CellRenderer:
    """Shows an answer in the outputs of a cell: the text of each reply, and each tool call.

    Each reply is streamed in two outputs, settled text and growing text (see the module). When the
    reply is complete, the second output is reused for what follows.

    Parameters
    ----------
    language
        The language of an answer that is not Markdown, such as `json`. It is shown as code.
    """

    def __init__(self, language: str | None = None) -> None:
        self._language_fence = f"```{language}\n" if language else ""
        self._model = ""
        self._reusable_output: Any = None
        # The output above a question about a tool call.
        self._output_above_question: Any = None
        self._blocks: dict[int, Any] = {}
        self._running: set[int] = set()
        self._reset()

    def _reset(self) -> None:
        self._settled_output: Any = None
        self._growing_output: Any = None
        self._settled_text = ""
        self._growing_text = ""
        self._reasoning = ""
        self._open_fence = ""
        self._shown_at = -math.inf

    def show_images(self, images: list[dict[str, Any]]) -> None:
        """Show the images of the prompt, small."""
        for image in images:
            _display_image(image, _SENT_WIDTH)

    def begin(self, model: str) -> None:
        """Show that a model is about to answer."""
        self._model = model
        self._reset()
        self._settled_output = self._show(f"<small>waiting for {_inline(model)}</small>")

    def add(self, delta: Delta) -> None:
        """Show more of the answer, at most ten times a second."""
        self._output_above_question = None
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
                if self._settled_text == self._growing_text == "" and self._reasoning:
                    self._update_settled()
                if self._language_fence and not self._open_fence:
                    self._open_fence = self._language_fence
                self._growing_text += delta.text
        now = time.monotonic()
        wait = max(UPDATE_SECONDS, len(self._growing_text) / _CHARACTERS_PER_SECOND)
        if now - self._shown_at < wait:
            return
        if delta.kind == "writing":
            self._update_writing(delta.call)
        else:
            if len(self._growing_text) > max(_SETTLE_CHARACTERS, len(self._settled_text) // 8):
                self._settle()
            self._update_growing()
        # Measured after the update, so that a slow frontend gets more time.
        self._shown_at = time.monotonic()

    def end(self, answer: Answer) -> None:
        """Show the whole answer in its first output and the summary line in the last one."""
        answer.shown_in = cell_number()
        if answer.outcome == "paused":
            # Nobody could be asked, or has answered.
            self._reusable_output = self._reusable_output or self._output_above_question
        for call in answer.calls:
            if id(call) in self._running or id(call) not in self._blocks:
                self._close_reply()
                self._show_block(call)
        waits = self._settled_output is not None
        if self._close_reply() or answer.calls:
            pass
        elif waits:
            stopped = answer.outcome == "interrupted"
            note = "Interrupted before the first word" if stopped else "no answer"
            _update(self._reusable_output, f"<small>{note}</small>", note)
            self._reusable_output = None
        if answer.outcome == "failed" and self._reusable_output is None and not answer.calls:
            return  # the error that follows says what happened
        summary = answer.summary()
        self._show(f"<small>{_inline(summary)}</small>", summary)

    def _close_reply(self) -> bool:
        """Show a reply as it stays; return whether it has any text or reasoning."""
        text = self._settled_text + self._growing_text
        has_content = bool(text or self._reasoning)
        if has_content:
            reasoning = reasoning_block(self._reasoning, running=False)
            shown = in_code_font(self._as_markdown(text))
            _update(self._settled_output, reasoning + shown, _CONTROL.sub("", text))
            self._reusable_output = self._growing_output
        elif self._settled_output is not None:
            self._reusable_output = self._settled_output
        self._reset()
        return has_content

    def _add_question(self, call: ToolCall) -> None:
        self._close_reply()
        name = _inline(visible(call.name))
        note = f"<small>{_inline(self._model)} asks for {name}:</small>"
        self._output_above_question = self._show(
            note, f"{self._model} asks for {visible(call.name)}:"
        )

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
        elif self._reusable_output is not None:
            self._reusable_output.update(bundle, raw=True)
            self._blocks[id(call)], self._reusable_output = self._reusable_output, None
        else:
            self._blocks[id(call)] = _display_bundle(bundle)

    def _show(self, markdown: str, plain: str = "") -> Any:
        """Show something below everything else, in the reusable output if there is one."""
        handle, self._reusable_output = self._reusable_output, None
        if handle is None:
            return _display(markdown, plain)
        _update(handle, markdown, plain)
        return handle

    def _as_markdown(self, text: str) -> str:
        """Write the text of a reply, or its settled part, as Markdown."""
        if self._language_fence and text:
            return safe_markdown(f"{self._language_fence}{text}\n```")
        return safe_markdown(text)

    def _settle(self) -> None:
        cut = settled_length(self._growing_text, self._open_fence, limit=2 * _SETTLE_CHARACTERS)
        if not cut:
            return
        head, self._growing_text = self._growing_text[:cut], self._growing_text[cut:]
        self._open_fence = open_fence(self._open_fence + head)
        self._settled_text += head
        self._update_settled()

    def _update_settled(self) -> None:
        reasoning = reasoning_block(self._reasoning, running=False)
        _update(self._settled_output, reasoning + self._as_markdown(self._settled_text))

    def _update_growing(self) -> None:
        if self._growing_text or self._settled_text:
            text = safe_markdown(self._open_fence + self._growing_text)
        else:
            text = reasoning_block(self._reasoning[-_REASONING_SHOWN:], running=True)
        if self._growing_output is None:
            if not self._reasoning:
                _update(self._settled_output, "")  # removes the note "waiting for"
            self._growing_output = _display(text)
        else:
            _update(self._growing_output, text)

    def _update_writing(self, call: ToolCall | None) -> None:
        """Show which tool call is being written, below the text before it."""
        name = call.name if call is not None else ""
        note = f"<small>calling {_inline(_CONTROL.sub('', name))} …</small>"
        text = self._settled_text + self._growing_text
        if not text and not self._reasoning:
            _update(self._settled_output, note)
            return
        reasoning = reasoning_block(self._reasoning, running=False)
        _update(self._settled_output, reasoning + self._as_markdown(text))
        if self._growing_output is None:
            self._growing_output = _display(note)
        else:
            _update(self._growing_output, note)


def reasoning_block(text: str, *, running: bool) -> str:
    """Write a model's reasoning as a block: open while the model reasons, closed after that.

    The block is one line of escaped HTML, so that no Markdown renderer looks inside.
    """
    if not text.strip():
        return ""
    title = "Reasoning …" if running else f"Reasoning, {plural(len(text.split()), 'word')}"
    body = safe_html(_CONTROL.sub("", text).strip()).replace("\n", "<br>")
    state = " open" if running else ""
    return f"<details{state}><summary>{title}</summary><p>{body}</p></details>\n\n"


def _inline(text: str) -> str:
    """Escape a line of text, which may come from a model, for Markdown."""
    return _MARKS.sub(lambda mark: mark[0].translate(ACTIVE), text)


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
    """Show the image of a content part as a static output, at most `width` pixels wide."""
    from IPython.display import display

    # Twice as many pixels, for high-resolution screens.
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
    # While text is streamed, the plain form would double what is sent.
    return {"text/markdown": markdown, **({"text/plain": plain} if plain else {})}
