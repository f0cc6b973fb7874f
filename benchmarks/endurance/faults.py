"""`python -m benchmarks.endurance.faults`: kill the engine under load, drop requests at random.

Prints the outcome of every request, orphaned processes, and the growth of memory. Exits with 1 if a
request hung, a process was orphaned, or the next request was not served.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.comparison.report import percentiles
from benchmarks.harness.client import Reply, post
from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.harness.running import Running, running
from benchmarks.models.prepare import prepare_model

_HUNG_AFTER = 15.0
_KINDS = ("process", "active", "cache", "prefixes")


class FaultTests:
    """Both tests, on one server."""

    def __init__(self, live: Running, model: Path, seed: int) -> None:
        self.live = live
        self.model = model
        self.random = random.Random(seed)
        self.serial = 0

    async def ask(self, tokens: int, *, stream: bool = True, **limits: Any) -> Reply | None:
        """Send one request with a unique prompt. Return `None` if it hung."""
        self.serial += 1
        size = self.random.choice([40, 100, 200, 400])
        prompt = make_prompts(self.model, 1, size, f"fault {self.serial}")[0]
        server = self.live.server
        payload: dict[str, Any] = {
            "model": server.recipe.model(server.setting),
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": stream,
        }
        try:
            return await post(server.endpoint, payload, **limits)
        except TimeoutError:
            return None

    async def kills(self, count: int, streams: int) -> dict[str, Any]:
        """Kill the engine `count` times under `streams` requests, a quarter not streamed."""
        fates: Counter[str] = Counter()
        delays: list[float] = []
        served: list[float] = []
        leftovers = 0
        for number in range(count):
            asked = [
                asyncio.create_task(self.ask(400, stream=i % 4 != 3, timeout=90.0))
                for i in range(streams)
            ]
            if number % 3:  # A third of the kills comes during prefill, the others later.
                await self.live.until(
                    lambda s: sum(r["generated_tokens"] > 0 for r in s["requests"]) > streams // 2
                )
            await asyncio.sleep(self.random.uniform(0.05, 0.5))
            victims = self.live.engines()
            killed = time.perf_counter()
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
            done, hung = await asyncio.wait(asked, timeout=_HUNG_AFTER)
            fates["hung"] += len(hung)
            for task in hung:
                task.cancel()
            for task in done:
                reply = task.result()
                fates[_fate(reply)] += 1
                if reply is not None:
                    delays.append(max(0.0, reply.ended - killed))
            begun = time.perf_counter()
            again = await self.ask(8, timeout=60.0)
            if again is None or again.error:
                fates["next request not served"] += 1
                print(f"kill {number + 1}: next request: {again and again.error}", flush=True)
            else:
                served.append(time.perf_counter() - begun)
            dead = {victim.pid for victim in victims}
            leftovers += sum(process.pid in dead for process in self.live.engines())
            leftovers += max(0, len(self.live.engines()) - 1)
        status = await self.live.status()
        return {
            "kills": count,
            "fates": dict(fates),
            "end_after_kill_ms": percentiles(delays),
            "next_served_after_ms": percentiles(served),
            "engines_left_over": leftovers,
            "restarts": status["engine"]["restarts"],
        }

    async def drops(self, count: int, together: int) -> dict[str, Any]:
        """Start `count` requests, `together` at a time, and drop each at a random moment."""
        fates: Counter[str] = Counter()
        marks: dict[int, dict[str, float]] = {}
        gate = asyncio.Semaphore(together)

        async def one(number: int) -> None:
            async with gate:
                fates[_phase(await self.ask(200, **self._moment(number)))] += 1

        first = 0
        for last in sorted({min(50, count), *range(200, count, 150), count}):
            await asyncio.gather(*(one(i) for i in range(first, last)))
            marks[last] = await self._settled()
            first = last
        idle = await self.live.until(lambda s: not s["requests"] and not s["queue"]["rows"])
        final = await self.ask(8, timeout=60.0)
        return {
            "drops": count,
            "fates": dict(fates),
            "idle_at_the_end": idle is not None,
            "served_afterwards": final is not None and final.error is None,
            "memory": {f"after {n}": mark for n, mark in marks.items()},
            "totals": (await self.live.status())["totals"],
        }

    def _moment(self, number: int) -> dict[str, Any]:
        """Return when to hang up: at once, in the queue or in prefill, or during decoding."""
        if number % 4 == 0:
            return {"stream": True, "drop_after": self.random.choice([0.0, 0.01, 0.1])}
        if number % 4 == 1:
            return {"stream": False, "drop_after": self.random.uniform(0.0, 4.0)}
        if number % 4 == 2:
            return {"stream": True, "drop_after": self.random.uniform(0.0, 1.5)}
        return {"stream": True, "drop_after_text": self.random.uniform(0.0, 1.0), "timeout": 90.0}

    async def _settled(self) -> dict[str, float]:
        """Return MB of memory after some idle seconds, when the engine has cleared its cache."""
        await self.live.until(lambda s: not s["requests"] and not s["queue"]["rows"])
        await asyncio.sleep(4)
        memory = (await self.live.status())["memory"]
        found = {f"engine {name}": memory[name] / 1e6 for name in _KINDS}
        # The prefix cache grows up to its limit by design: leave it out to see leaks.
        found["engine process without prefixes"] = (memory["process"] - memory["prefixes"]) / 1e6
        server = next(p for p in self.live.family() if p.pid == self.live.server.service.pid)
        return found | {"Jupyter server": server.memory_info().rss / 1e6}


def _fate(reply: Reply | None) -> str:
    """Return the outcome of a request whose engine was killed, in a few words."""
    if reply is None:
        return "hung"
    if reply.status == 503:
        return "503"
    if reply.status != 200:
        return f"status {reply.status}"
    if any(event.get("error") for event in reply.events):
        return "error event"
    if not reply.complete:
        return "ended without an answer"
    return "complete"


def _phase(reply: Reply | None) -> str:
    if reply is None:
        return "hung"
    if not reply.dropped:
        return f"answered with {reply.status}"
    return "dropped in decode" if reply.first is not None else "dropped before text"


def render(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    rows: list[tuple[str, Any]] = []
    for test in ("kills", "drops"):
        if test not in results:
            continue
        for key, value in results[test].items():
            if isinstance(value, dict):
                text = ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
            else:
                text = _short(value)
            rows.append((f"{test}: {key.replace('_', ' ')}", text))
    rows.append(("processes left after the server's end", results["orphans"]))
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows)]) + "\n"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + ")"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def failed(results: dict[str, Any]) -> list[str]:
    """Return the failures: what must not happen but did."""
    problems = []
    if results["orphans"]:
        problems.append("orphaned processes")
    for test in ("kills", "drops"):
        fates = results.get(test, {}).get("fates", {})
        bad = ("hung", "ended without an answer", "next request not served")
        problems += [f"{test}: {fate}" for fate in bad if fates.get(fate)]
    if results.get("kills", {}).get("engines_left_over"):
        problems.append("an engine outlived its successor")
    drops = results.get("drops")
    if drops and not (drops["idle_at_the_end"] and drops["served_afterwards"]):
        problems.append("not idle, or not serving, after the drops")
    return problems


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the tests and return their figures."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-faults-") as folder:
        work = Path(folder)
        model = work / "model"
        prepare_model(options.model, model, "float32")
        async with running(model, work, *options.option) as live:
            tests = FaultTests(live, model, options.seed)
            if options.drops:
                results["drops"] = await tests.drops(options.drops, options.together)
            if options.kills:
                results["kills"] = await tests.kills(options.kills, options.streams)
        await asyncio.sleep(1.0)
        left = live.family()
        results["orphans"] = len(left)
        for process in left:
            process.kill()
    return results


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endurance.faults", description=__doc__
    )
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--drops", type=int, default=500)
    parser.add_argument("--together", type=int, default=48, help="dropped requests at a time")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="passed to the server, as --option=--MlxNotebookApp.prefix_cache_entries=8",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = asyncio.run(measure(options))
    options.out.mkdir(parents=True, exist_ok=True)
    text = render(results)
    (options.out / "faults.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "faults.md").write_text(text)
    print(text)
    if problems := failed(results):
        sys.exit("failed: " + "; ".join(problems))


if __name__ == "__main__":
    main()
