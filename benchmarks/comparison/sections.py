"""The tables of the scenarios: medians of the rounds, and ratios to the base of each case."""

import statistics
from typing import Any

TITLES: dict[str, tuple[str, float]] = {
    "total": ("all streams, tok/s", 1.0),
    "stream": ("one stream, tok/s", 1.0),
    "first": ("first token, ms", 1000.0),
    "first_p95": ("its 95th percentile, ms", 1000.0),
    "pause": ("longest pause, ms", 1000.0),
    "wall": ("whole answer, ms", 1000.0),
    "tokens": ("tokens", 1.0),
    "cached": ("share cached", 1.0),
    "same": ("share of equal texts", 1.0),
    "freed": ("row free after, ms", 1000.0),
}
"""The title and the scale of each figure, in the order of the columns."""

_WITHOUT_RATIO = {"tokens", "cached", "same", "freed"}

HEADINGS = {
    "long prompts": "A long prompt alone",
    "pauses": "Running streams while a long prompt comes in",
    "arrivals": "Requests that arrive at random",
    "grammars": "A schema of ten keys",
    "lookups": "Prompt lookup",
    "quantised": "Quantised KV caches",
    "cancelled": "Cancelled requests",
}


def base_of(rows: list[dict[str, Any]], key: str) -> float | None:
    """Return a figure of the base among the rows of one case and round.

    Where there are several, the fastest one counts: the largest `total`, else the smallest figure.
    """
    bases = [row["figures"] for row in rows if row["base"]]
    found = [b for b in bases if b.get(key)]
    if not found:
        return None
    if all(b.get("total") for b in found):
        return float(max(found, key=lambda b: float(b["total"]))[key])
    return float(min(b[key] for b in found))


def ratio(rows: list[dict[str, Any]], way: str, key: str) -> float | None:
    """Return the median over the rounds of a way's figure to that of the base.

    `rows` are those of one case. Figures are compared within a round only.
    """
    ratios = []
    for number in {row["round"] for row in rows}:
        here = [row for row in rows if row["round"] == number]
        base = base_of(here, key)
        values = [v for r in here if r["way"] == way and (v := r["figures"].get(key)) is not None]
        if base and values:
            ratios.append(statistics.median(values) / base)
    return statistics.median(ratios) if ratios else None


def _cell(rows: list[dict[str, Any]], way: str, key: str) -> str:
    found = (row["figures"].get(key) for row in rows if row["way"] == way)
    values = [value for value in found if value is not None]
    if not values:
        return ""
    middle = TITLES[key][1] * statistics.median(values)
    text = f"{middle:.0f}" if middle >= 20 else f"{middle:.2f}"
    compared = None if key in _WITHOUT_RATIO else ratio(rows, way, key)
    return text if compared is None else f"{text}, **{compared:.2f}**"


def render(rows: list[dict[str, Any]], level: str = "###") -> list[str]:
    """Return the lines of Markdown: a heading and a table for each section."""
    lines: list[str] = []
    for section in dict.fromkeys(row["section"] for row in rows):
        here = [row for row in rows if row["section"] == section]
        keys = [key for key in TITLES if any(row["figures"].get(key) is not None for row in here)]
        titles = " | ".join(TITLES[key][0] for key in keys)
        lines += ["", f"{level} {HEADINGS[section]}", "", f"| | | {titles} |"]
        lines += ["|---|---|" + "---:|" * len(keys)]
        for case in dict.fromkeys(row["case"] for row in here):
            inside = [row for row in here if row["case"] == case]
            for way in dict.fromkeys(row["way"] for row in inside):
                cells = " | ".join(_cell(inside, way, key) for key in keys)
                lines.append(f"| {case} | {way} | {cells} |")
    return lines
