"""What a saved notebook shows in a panel's place: HTML that needs neither styles nor scripts."""

import html
from collections.abc import Iterable
from typing import Any

from mlx_notebook.notebook.inputs import trimmed

_SHOWN_CHARACTERS = 2_000
# JupyterLab sets tables flush right, as figures are.
_LEFT = ' style="text-align: left; vertical-align: top"'


def table(rows: Iterable[tuple[str, str]], title: str = "") -> str:
    """Write labels and values, all of them escaped."""
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    cells = "".join(
        f'<tr><th scope="row"{_LEFT}>{html.escape(label)}</th><td{_LEFT}>{_lines(value)}</td></tr>'
        for label, value in rows
    )
    return f"<table>{caption}{cells}</table>"


def request_block(trace: dict[str, Any], *, is_open: bool = False) -> str:
    """Write one request as a block that opens: what the model wrote, and what was read from it.

    `trace` is as the inspector shows it, its calls with their `faults` and `result`.
    """
    asked = [m["content"] for m in trace["messages"] if m["role"] == "user"]
    rows = [("asked", _text(asked[-1]) if asked else str(trace["prompt"]))]
    names = []
    for row in trace["rows"]:
        rows.append(("the model wrote", row["raw"] or row["content"]))
        for call in row["calls"]:
            names.append(call["name"])
            rows += [
                ("read as", f"{call['name']}({call['arguments']})"),
                ("by its schema", "; ".join(call["faults"]) or "valid"),
                ("result", "none was sent back" if call["result"] is None else call["result"]),
            ]
        rows += [
            ("no call", f"{problem['reason']}: {problem['raw']}") for problem in row["problems"]
        ]
    rows.append(("time", f"{trace['seconds']:.2f} s"))
    state = " open" if is_open else ""
    calls = html.escape(", ".join(names) or "no tool")
    return f"<details{state}><summary>A request that calls {calls}</summary>{table(rows)}</details>"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "[picture]") for part in content)


def _lines(text: str) -> str:
    return html.escape(trimmed(text, _SHOWN_CHARACTERS)).replace("\n", "<br>")
