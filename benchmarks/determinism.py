"""`python -m benchmarks.determinism`: is a text the same alone and in a batch?

Each request is sent alone, again alone (with its prompt in the prefix cache), and beside others.
Random numbers depend on seed and position only, so differences come from rounding: with other batch
sizes and chunks the same products are summed in another order.

The others have prompts of other lengths, from 40 to 400 tokens. With a vision model
every second request has an image, and every third of the others. `--model` takes `tiny-chat`,
`tiny-vision`, a folder, or a name of `benchmarks.models.shapes`: `hybrid` and `moe` among them. The
exit status is 1 if a text differs. In bf16 on a GPU some do, by rounding.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from benchmarks.harness.client import Reply
from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import Request, make_prompts
from benchmarks.harness.running import Running, running
from benchmarks.models.prepare import prepare_model
from benchmarks.workloads.images import draw, user_message

_MODES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 0.8, "seed": 1234},
}
_DEMO_MODELS = ROOT / "mlx_notebook" / "demo_models"
_LENGTH = 100
_OTHER_LENGTHS = (40, 400, 130, 70, 250, 100, 50, 310)
_IMAGE = (96, 96)


def _same(one: str, other: str) -> int:
    """Return the length of the common prefix in characters."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


class Comparison:
    """Counts texts that differ from the text of the first request, and where."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.compared = self.different = 0
        self.agreed = 0.0

    def add(self, first: Reply, second: Reply) -> None:
        """Compare two answers to one request. Raise `RuntimeError` if one is an error."""
        for reply in (first, second):
            if reply.error:
                raise RuntimeError(reply.error)
        self.compared += 1
        share = 1.0
        if first.text != second.text:
            self.different += 1
            share = _same(first.text, second.text) / max(1, len(first.text))
        self.agreed += share * self.tokens

    @property
    def figures(self) -> dict[str, Any]:
        """Count requests, those that differ, and flips per 1,000 tokens up to the first one."""
        return {
            "requests": self.compared,
            "different": self.different,
            "flips_per_1000_tokens": round(1000 * self.different / max(1.0, self.agreed), 2),
        }


async def compare(
    live: Running,
    model: Path,
    mode: str,
    requests: int,
    others: int,
    tokens: int,
    *,
    sees: bool = False,
) -> dict[str, Any]:
    """Send `requests` requests in each of the three ways and compare the answers.

    A model that `sees` gets images with some of them.
    """
    again, beside = Comparison(tokens), Comparison(tokens)
    server = live.server

    def ask(prompt: str, image: Any = None) -> Coroutine[Any, Any, Reply]:
        fields = dict(_MODES[mode])
        if image is not None:
            fields["messages"] = [user_message(prompt, image)]
        return server.ask(Request(prompt, tokens, fields=fields))

    own = make_prompts(model, requests, _LENGTH, f"determinism {mode}")
    for number, prompt in enumerate(own):
        show_progress(f"{mode}: request {number + 1} of {requests}")
        image = draw(*_IMAGE) if sees and number % 2 else None
        first = await ask(prompt, image)
        again.add(first, await ask(prompt, image))
        everyone: list[tuple[str, Any]] = []
        for other in range(others):
            length = _OTHER_LENGTHS[(number + other) % len(_OTHER_LENGTHS)]
            (text,) = make_prompts(model, 1, length, f"company {mode} {number} {other}")
            everyone.append((text, draw(*_IMAGE) if sees and other % 3 == 0 else None))
        place = number % (others + 1)
        everyone.insert(place, (prompt, image))
        replies = await asyncio.gather(*(ask(*one) for one in everyone))
        for reply in replies:
            if reply.error:
                raise RuntimeError(reply.error)
        beside.add(first, replies[place])
    return {"alone again": again.figures, f"beside {others} others": beside.figures}


def show_progress(text: str) -> None:
    """Print the progress over the last line."""
    sys.stderr.write(f"\r\x1b[K{text}" if sys.stderr.isatty() else f"{text}\n")
    sys.stderr.flush()


def render(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| compared with the request alone | requests | different | flips in 1,000 tokens |",
        "|---|---:|---:|---:|",
    ]
    for mode, cases in results.items():
        for case, figures in cases.items():
            lines.append(
                f"| {mode}, {case} | {figures['requests']} | {figures['different']} | "
                f"{figures['flips_per_1000_tokens']} |"
            )
    return "\n".join(lines) + "\n"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all modes on servers with and without a prefix cache."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-determinism-") as folder:
        work = Path(folder)
        model = work / "model"
        sees = options.model == "tiny-vision"
        if sees:
            shutil.copytree(_DEMO_MODELS / options.model, model)
        else:
            demo = _DEMO_MODELS / options.model
            source = str(demo) if options.model == "tiny-chat" else options.model
            prepare_model(source, model, options.dtype)
        for title, settings in (
            ("prefixes reused", ()),
            ("no reuse", ("--MlxNotebookApp.prefix_cache_entries=0",)),
        ):
            show_progress(f"{title}: the server starts")
            async with running(model, work, *settings) as live:
                for mode in _MODES:
                    results[f"{mode}, {title}"] = await compare(
                        *(live, model, mode, options.requests, options.others, options.tokens),
                        sees=sees,
                    )
    return results


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.determinism", description=__doc__)
    parser.add_argument("--model", default="tiny-chat")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--requests", type=int, default=6)
    parser.add_argument("--others", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = asyncio.run(measure(options))
    show_progress("")
    options.out.mkdir(parents=True, exist_ok=True)
    text = render(results)
    name = (
        "determinism" if options.model == "tiny-chat" else f"determinism-{Path(options.model).name}"
    )
    (options.out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(text)
    print(text)
    figures = [case for cases in results.values() for case in cases.values()]
    if different := sum(case["different"] for case in figures):
        raise SystemExit(f"{different} of {sum(case['requests'] for case in figures)} differ")


if __name__ == "__main__":
    main()
