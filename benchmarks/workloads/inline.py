"""`python -m benchmarks.workloads.inline`: type a recorded cell, with grey text from a server.

A cell of 30 lines is typed key by key, with pauses as a person has them. After a short pause a
completion is asked for; the next key closes its connection. Where the grey text is what the person
is about to type, they accept it with one key. `typed` says how many characters that saved, how long
the first text took, and how many tokens were computed for completions that a key cancelled.

`alone` asks for single completions, each after the one at the key before, and compares the time of
each with mlx-lm's own loop on the same tokens in a process of its own, with the same tokens in its
KV cache. The difference is the server's overhead.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.processes import environment, find_blas
from benchmarks.models.prepare import prepare_model
from benchmarks.models.shapes import NAMES
from tests.server.running import RunningServer, running, wait_for

CELL = '''import csv
from collections import defaultdict
from pathlib import Path


def read_rows(path):
    """Return the rows of a table as dictionaries."""
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def totals_by_month(rows):
    """Return the total amount of each month."""
    totals = defaultdict(float)
    for row in rows:
        month = row["date"][:7]
        totals[month] += float(row["amount"])
    return dict(totals)


def print_report(totals):
    """Print the months in their order, with their totals."""
    for month in sorted(totals):
        print(month, round(totals[month], 2))


rows = read_rows("payments.csv")
totals = totals_by_month(rows)
print_report(totals)
'''

ROUTE = "mlx/completions/inline"
_KEY, _LINE_END = 0.12, 0.6
"""Seconds from one key to the next, and at the end of a line."""

_DEBOUNCE = 0.075
"""Seconds without a key after which a completion is asked for."""


@dataclass
class Completion:
    """One request: when its first text and its end came, and what it was."""

    text: str = ""
    first: float | None = None
    total: float | None = None
    usage: dict[str, int] = field(default_factory=dict)


async def complete(
    client: httpx.AsyncClient, prefix: str, most: int, seconds: float | None = None
) -> Completion:
    """Ask for a completion; close the connection after some seconds."""
    found = Completion()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _read(client, {"prefix": prefix, "max_tokens": most}, found)
    return found


async def _read(client: httpx.AsyncClient, body: dict[str, Any], found: Completion) -> None:
    began = time.perf_counter()
    async with client.stream("POST", ROUTE, json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                now = time.perf_counter() - began
                if event["type"] == "done":
                    found.total, found.usage = now, event["usage"]
                elif event["type"] == "text":
                    found.first = now if found.first is None else found.first
                    found.text += event["text"]


class Typist:
    """Types the end of the cell, and asks for completions meanwhile."""

    def __init__(self, client: httpx.AsyncClient, begin: int, keys: int, most: int) -> None:
        self._client, self._most = client, most
        self._at, self._end = begin, min(len(CELL), begin + keys)
        self._random = random.Random(0)
        self.completions: list[Completion] = []
        self.typed = self.accepted = self.cancelled = self.shown = 0

    async def run(self) -> None:
        """Type to the end."""
        while self._at < self._end:
            pause = _LINE_END if CELL[self._at - 1] == "\n" else _KEY
            await self._wait(pause * self._random.uniform(0.5, 1.5))

    async def _wait(self, pause: float) -> None:
        """Wait for the next key, with grey text where the pause is long enough, and press it."""
        if pause > _DEBOUNCE:
            await asyncio.sleep(_DEBOUNCE)
            found = await self._grey(pause - _DEBOUNCE)
            if found.text and CELL.startswith(found.text, self._at):
                self._at += len(found.text)
                self.accepted += len(found.text)
                return
        else:
            await asyncio.sleep(pause)
        self._at += 1
        self.typed += 1

    async def _grey(self, seconds: float) -> Completion:
        """Return what has come of a completion when the next key is pressed."""
        began = time.perf_counter()
        found = await complete(self._client, CELL[: self._at], self._most, seconds)
        # The person looks at it until then.
        await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        self.completions.append(found)
        self.cancelled += found.total is None
        self.shown += bool(found.text)
        return found


def generated_tokens(server: RunningServer) -> float:
    """Return how many tokens the server has counted."""
    text = server.client.get("metrics").text
    counts = re.findall(r"^mlx_notebook_generated_tokens_total\{.*\} (\S+)$", text, re.M)
    return sum(map(float, counts))


async def typed(
    server: RunningServer, client: httpx.AsyncClient, options: argparse.Namespace
) -> dict[str, Any]:
    """Type, and return the figures."""
    begin = CELL.index("def print_report")
    await complete(client, CELL[: begin - 1], 1)
    before = generated_tokens(server)
    typist = Typist(client, begin, options.keys, options.tokens)
    began = time.perf_counter()
    await typist.run()
    server.wait_until_idle()
    used = sum(c.usage.get("completion_tokens", 0) for c in typist.completions)
    first = [c.first for c in typist.completions if c.first is not None]
    return {
        "seconds": time.perf_counter() - began,
        "typed": typist.typed,
        "accepted": typist.accepted,
        "requests": len(typist.completions),
        "shown": typist.shown,
        "cancelled": typist.cancelled,
        "first_text": quantiles(first),
        "tokens": used,
        "cancelled_tokens": generated_tokens(server) - before - used,
    }


def start_raw(model: Path) -> "subprocess.Popen[str]":
    """Start mlx-lm's own loop."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workloads.inline_raw", str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(find_blas()),
    )


async def alone(
    server: RunningServer, client: httpx.AsyncClient, model: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the times of single completions beside those of mlx-lm's own loop."""
    raw = start_raw(model)
    assert raw.stdin is not None
    assert raw.stdout is not None
    rows = []
    try:
        raw.stdout.readline()
        places = [match.end() for match in re.finditer(r"\n {4}\w", CELL)][-options.rounds :]
        for at in [places[0], *places]:  # the first one warms both up
            await complete(client, CELL[: at - 1], options.tokens)
            server.wait_until_idle()
            ours = await complete(client, CELL[:at], options.tokens)
            job = {"prefix": CELL[:at], "usage": ours.usage}
            raw.stdin.write(json.dumps(job) + "\n")
            raw.stdin.flush()
            rows.append((ours, json.loads(raw.stdout.readline())))
    finally:
        raw.stdin.close()
        raw.wait()
    rows = rows[1:]
    return {
        "rounds": len(rows),
        "prompt": rows[-1][0].usage["prompt_tokens"],
        "computed": statistics.median(
            c.usage["prompt_tokens"] - c.usage["cached_tokens"] for c, _ in rows
        ),
        "tokens": statistics.median(c.usage["completion_tokens"] for c, _ in rows),
        "first_text": quantiles([c.first for c, _ in rows if c.first is not None]),
        "whole": quantiles([c.total for c, _ in rows if c.total is not None]),
        "raw_first": quantiles([r["first"] for _, r in rows]),
        "raw_whole": quantiles([r["whole"] for _, r in rows]),
        "overhead": statistics.median((c.total or 0) - r["whole"] for c, r in rows),
    }


async def measure(
    server: RunningServer, model: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Return all figures of a model."""
    async with httpx.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=120, trust_env=False
    ) as client:
        return {
            "alone": await alone(server, client, model, options),
            "typed": await typed(server, client, options),
        }


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile; empty without times."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {"p50": statistics.median(ordered), "p95": ordered[int(0.95 * (len(ordered) - 1))]}


def shown_times(times: dict[str, float]) -> str:
    """Return a median and a 95th percentile in milliseconds."""
    return f"{1000 * times['p50']:.0f} / {1000 * times['p95']:.0f}" if times else "none"


def table(name: str, result: dict[str, Any]) -> str:
    """Return the figures of a model as lines of Markdown."""
    t, a = result["typed"], result["alone"]
    return "\n".join(
        (
            f"| {name} | |",
            "|---|---:|",
            f"| keys typed; characters accepted | {t['typed']}; {t['accepted']} |",
            f"| requests; with text; cancelled | {t['requests']}; {t['shown']}; {t['cancelled']} |",
            f"| first text while typing, p50 / p95, ms | {shown_times(t['first_text'])} |",
            f"| tokens of whole completions; of cancelled ones | {t['tokens']}; "
            f"{t['cancelled_tokens']:.0f} |",
            f"| prompt, tokens; of them computed; generated | {a['prompt']}; {a['computed']:.0f}; "
            f"{a['tokens']:.0f} |",
            f"| first text alone, p50 / p95, ms | {shown_times(a['first_text'])} |",
            f"| whole completion, p50 / p95, ms | {shown_times(a['whole'])} |",
            f"| raw mlx-lm, the same tokens, p50 / p95, ms | {shown_times(a['raw_whole'])} |",
            f"| overhead of the server, median, ms | {1000 * a['overhead']:.0f} |",
            "",
        )
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workloads.inline", description=__doc__
    )
    tiny = str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat")
    parser.add_argument("--model", default=tiny, help=f"a folder, or one of {', '.join(NAMES)}")
    parser.add_argument("--keys", type=int, default=160, help="most characters to type")
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of a completion")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    name = Path(options.model).name
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-inline-") as folder:
        model = Path(options.model)
        if options.model in NAMES:
            model = Path(folder) / name
            prepare_model(options.model, model, "float32")
        config = {"models_dirs": [str(model.parent)], "completion_model": model.name}
        with running(config={"MlxNotebookApp": config}) as server:
            body = {"model": model.name}
            server.client.post("mlx/models/load", json=body, timeout=600).raise_for_status()
            wait_for(lambda: server.client.get(ROUTE).json()["loaded"], 60)
            result = asyncio.run(measure(server, model, options))
    text = table(name, result)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"inline-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / f"inline-{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
