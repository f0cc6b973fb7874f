"""A tool call in a cell: a block that opens, as HTML, Markdown and plain text.

Everything is escaped: names, arguments and results come from a model and from tools.
"""

import json
import re
from typing import Any

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import text_of
from mlx_notebook.notebook.escaping import ACTIVE, safe_html
from mlx_notebook.notebook.inputs.as_text import trimmed
from mlx_notebook.notebook.plain_text import CONTROL

# The most characters that are shown of the arguments, and of the result.
SHOWN_CHARACTERS = 4_000
_LINE_CHARACTERS = 80

# Control characters, and characters that reorder or hide text on a page.
_CONTROL = re.compile(
    rf"[{CONTROL}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)


def tool_call_bundle(call: ToolCall) -> dict[str, str]:
    """Show a tool call: name, arguments, result or error, and time.

    Returns
    -------
    dict
        A MIME bundle of `text/html` (a `<details>` without styles), `text/markdown` (for PDF) and
        `text/plain`.
    """
    parts = _parts(call)
    return {
        "text/html": _html(call, parts),
        "text/markdown": _markdown(call, parts),
        "text/plain": _plain(call, parts),
    }


def _parts(call: ToolCall) -> list[tuple[str, str]]:
    """Return the titles and texts inside the block."""
    if call.arguments is not None:
        arguments = json.dumps(call.arguments, ensure_ascii=False, indent=2, default=str)
    else:
        arguments = call.written
    parts = [("arguments", arguments)]
    if call.state == "done":
        parts.append(("result", _pretty(text_of(call.content))))
    elif call.is_answered:
        parts.append(("sent to the model", text_of(call.content)))
    if call.traceback:
        parts.append(("traceback", call.traceback))
    return [(title, trimmed(_clean(text), SHOWN_CHARACTERS)) for title, text in parts]


def _headline(call: ToolCall) -> str:
    """Return the state or result in a few words."""
    match call.state:
        case "done":
            text = f"→ {_line(text_of(call.content))}"
        case "failed":
            text = f"failed: {_line(call.error or '')}"
        case "refused":
            text = f"refused: {_line(call.error or '')}"
        case "interrupted":
            text = "interrupted"
        case "running":
            text = "running …"
        case _:
            text = "not called yet"
    if call.seconds is not None:
        text += f" · {_duration(call.seconds)}"
    return text


def _html(call: ToolCall, parts: list[tuple[str, str]]) -> str:
    name = safe_html(_clean(call.name))
    blocks = "".join(
        f"<div><small>{title}</small><pre><code>{safe_html(text)}</code></pre></div>"
        for title, text in parts
    )
    return (
        f"<details><summary><b>{name}</b>{safe_html(_arguments(call))} "
        f"{safe_html(_headline(call))}</summary>{blocks}</details>"
    )


def _markdown(call: ToolCall, parts: list[tuple[str, str]]) -> str:
    line = f"{_arguments(call)} {_headline(call)}".translate(ACTIVE)
    blocks = [f"{title}:\n\n{fenced(text)}" for title, text in parts]
    return "\n\n".join([f"**{_clean(call.name).translate(ACTIVE)}**{line}", *blocks]) + "\n"


def _plain(call: ToolCall, parts: list[tuple[str, str]]) -> str:
    lines = [f"{_clean(call.name)}{_arguments(call)} {_headline(call)}"]
    # The headline already holds short results.
    for title, text in parts[1:]:
        if "\n" in text or len(text) > _LINE_CHARACTERS:
            lines += [f"{title}:", text]
    return "\n".join(lines)


def fenced(text: str, language: str = "") -> str:
    """Put a text into a code block that nothing in the text can close."""
    runs = re.findall(r"`+", text)
    marks = "`" * max(3, *(len(run) + 1 for run in runs)) if runs else "```"
    return f"{marks}{language}\n{text}\n{marks}"


def _arguments(call: ToolCall) -> str:
    return "(" + _line(str(call).removeprefix(call.name)[1:-1]) + ")"


def _line(text: str) -> str:
    line = " ".join(_clean(text).split())
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + "…"


def _pretty(text: str) -> str:
    """Indent a text that is JSON."""
    if not text.startswith(("{", "[")):
        return text
    try:
        decoded: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(decoded, ensure_ascii=False, indent=2)


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "under 1 ms"
