"""Measure by skill how often tiny-vision answers exactly right on held-out images.

`python -m mlx_notebook.demo_models.training.tiny_vision.evaluate --base-url URL --api-key KEY`
asks a running server; `--folder FOLDER` runs the model in this process.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .answering import Answerer, InProcess, OverHTTP, Said
from .cases import Case, cases


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (E. B. Wilson, 1927)."""
    if total == 0:
        return 0.0, 1.0
    share = right / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def exact(case: Case, said: Said) -> bool:
    """Return whether the whole answer, or the single call, is right; case does not matter."""
    text, calls = said
    if isinstance(case.answer, str):
        return not calls and text.strip().casefold() == case.answer.casefold()
    name, arguments = case.answer
    return len(calls) == 1 and calls[0][0] == name and calls[0][1] == arguments


def tally(results: Iterable[tuple[str, bool]]) -> dict[str, dict[str, Any]]:
    """Return the right answers, their share and its interval, by name and in total."""
    counts: dict[str, list[int]] = {}
    for name, right in results:
        for key in (name, "all"):
            one = counts.setdefault(key, [0, 0])
            one[0] += right
            one[1] += 1
    return {
        name: {
            "right": right, "total": total, "share": round(right / total, 4),
            "interval": [round(x, 4) for x in wilson(right, total)],
        }
        for name, (right, total) in counts.items()
    }  # fmt: skip


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| skill | exact | 95 % interval | cases |", "|---|---|---|---|"]
    for name, row in figures.items():
        low, high = row["interval"]
        lines.append(f"| {name} | {row['share']:.1%} | {low:.1%} to {high:.1%} | {row['total']} |")
    return "\n".join(lines)


def evaluate(answerer: Answerer, each: int, seed: int, at_once: int = 16) -> dict[str, Any]:
    """Return the figures by skill and by drawing library, and the wrong answers."""
    chosen = list(cases(each, seed))
    said: list[Said] = []
    for start in range(0, len(chosen), at_once):
        said += answerer.answers(chosen[start : start + at_once])
    hits = [exact(case, answer) for case, answer in zip(chosen, said, strict=True)]
    wrong = [
        {
            "skill": case.skill, "library": case.library,
            "asked": _words(case), "right": case.answer, "said": answer,
        }
        for case, answer, hit in zip(chosen, said, hits, strict=True)
        if not hit
    ]  # fmt: skip
    libraries = [(c.library, h) for c, h in zip(chosen, hits, strict=True) if c.library]
    return {
        "skills": tally((c.skill, h) for c, h in zip(chosen, hits, strict=True)),
        "libraries": tally(libraries),
        "wrong": wrong,
    }


def _words(case: Case) -> str:
    content = case.messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", help="OpenAI-compatible server, including /v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--model", default="tiny-vision")
    parser.add_argument("--folder", type=Path, help="run this model folder in this process")
    parser.add_argument("--each", type=int, default=60, help="cases per skill")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--json", type=Path, help="write figures and wrong answers here")
    given = parser.parse_args()
    if (given.folder is None) == (given.base_url is None):
        parser.error("give either --base-url or --folder")
    answerer: Answerer = (
        InProcess(given.folder)
        if given.folder is not None
        else OverHTTP(given.base_url, given.api_key, given.model)
    )
    figures = evaluate(answerer, given.each, given.seed)
    sys.stdout.write(table(figures["skills"]) + "\n\n" + table(figures["libraries"]) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
