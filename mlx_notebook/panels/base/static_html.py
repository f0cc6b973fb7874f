"""The static HTML that a saved notebook shows in place of a panel, without styles and scripts."""

from collections.abc import Iterable
from typing import Any

from mlx_notebook.notebook.escaping import safe_html
from mlx_notebook.notebook.inputs.as_text import trimmed

_SHOWN_CHARACTERS = 2_000
# JupyterLab aligns text in tables to the right.
_LEFT = ' style="text-align: left; vertical-align: top"'


def table(rows: Iterable[tuple[str, str]], title: str = "") -> str:
    """Write a table of labels and values, escaped."""
    caption = f"<caption>{safe_html(title)}</caption>" if title else ""
    cells = "".join(
        f'<tr><th scope="row"{_LEFT}>{safe_html(label)}</th><td{_LEFT}>{_lines(value)}</td></tr>'
        for label, value in rows
    )
    return f"<table>{caption}{cells}</table>"


def static_fallback(content: str, name: str) -> str:
    """Wrap static HTML so that it is hidden while the live panel `name` is shown.

    The live panel is the next output of the same cell. That output is hidden until the panel is in
    it: without a kernel, JupyterLab would show "model not found" there. Where styles are removed,
    that output is not shown.
    """
    saved, output = f'[data-mlx-saved="{name}"]', ".jp-OutputArea-child"
    return (
        "<style>\n"
        f'body:has([data-mlx-live="{name}"]) {output}:has({saved}),\n'
        f'body:has([data-mlx-live="{name}"]) {saved},\n'
        f"{output}:has({saved}) + {output}:not(:has(.mlx-panel)) {{ display: none; }}\n"
        f'</style>\n<div data-mlx-saved="{name}">{content}</div>'
    )


def request_block(trace: dict[str, Any], *, is_open: bool = False) -> str:
    """Write one request as a block that opens: what the model wrote, and how it was parsed.

    `trace` is a trace whose calls have `faults` and a `result`, as in the inspector.
    """
    prompts = [m["content"] for m in trace["messages"] if m["role"] == "user"]
    rows = [("Prompt", _text(prompts[-1]) if prompts else str(trace["prompt"]))]
    names = []
    for row in trace["rows"]:
        rows.append(("Raw output", row["raw"] or row["content"]))
        for call in row["calls"]:
            names.append(call["name"])
            rows += [
                ("Parsed as", f"{call['name']}({call['arguments']})"),
                ("Schema check", "; ".join(call["faults"]) or "valid"),
                ("Result", "none was sent" if call["result"] is None else call["result"]),
            ]
        rows += [
            ("Invalid call", f"{problem['reason']}: {problem['raw']}")
            for problem in row["problems"]
        ]
    rows.append(("Time", f"{trace['seconds']:.2f} s"))
    state = " open" if is_open else ""
    title = f"Request with tool calls: {safe_html(', '.join(names) or 'none')}"
    return f"<details{state}><summary>{title}</summary>{table(rows)}</details>"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    names = ("[sound]" if part["type"] == "audio" else "[image]" for part in content)
    return " ".join(part.get("text", name) for part, name in zip(content, names, strict=True))


def _lines(text: str) -> str:
    return safe_html(trimmed(text, _SHOWN_CHARACTERS)).replace("\n", "<br>")
