"""`python -m benchmarks.serving`: compare all contenders in one interleaved run.

Writes `serving.json`, `serving.md` and `serving.png` to the results folder.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.comparison import report
from benchmarks.comparison.bursts import Bursts
from benchmarks.comparison.scenarios import (
    REPEATS,
    SCENARIOS,
    Sizes,
    Stage,
    link_variants,
    variants_of,
)
from benchmarks.harness.budget import Budget
from benchmarks.harness.contenders import (
    OURS,
    RECIPES,
    ROOT,
    Server,
    Setting,
    install,
    make_contenders,
)
from benchmarks.harness.engine_alone import EngineAlone
from benchmarks.harness.lineup import Lineup, say, started
from benchmarks.harness.load import make_prompts
from benchmarks.harness.processes import find_blas
from benchmarks.models.prepare import prepare_model
from benchmarks.models.shapes import NAMES, SMOLLM2

SAME_BLAS = "same BLAS, fp32"
AS_SHIPPED = "out of the box, bf16"


class Bench:
    """One run: its settings, its time limit, and its measurements so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.budget = Budget(60 * options.budget)
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": {
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "versions": {p: version(p) for p in ("mlx", "mlx-lm", "mlx-vlm", "jupyter-server")},
            "settings": {
                "model": Path(options.model).name,
                "tokens": options.tokens,
                "prompt_tokens": options.prompt_tokens,
            },
            "bursts": [],
            "scenarios": [],
            "notes": self.budget.notes,
            "idle": {},
            "failures": {},
            "event_loop": {},
        }

    async def table(
        self, name: str, setting: Setting, rounds: int, levels: list[int], until: Budget
    ) -> None:
        """Measure all contenders in turn, for each round and each number of streams."""
        options = self.options
        contenders = make_contenders(setting, options.contenders)
        if options.engine:
            contenders.append(EngineAlone(setting))
        async with started(contenders) as lineup:
            for contender, why in lineup.failures.items():
                self.results["failures"][f"{name}: {contender}"] = why
            sizes = (options.prompt_tokens, options.tokens)
            await lineup.warm_up(setting.model, sorted({1, max(levels)}), sizes[0], 8)
            self.results["idle"][name] = await lineup.idle()
            bursts = Bursts(name, lineup, setting.model, sizes, self.results)
            length = 0.0
            for number in range(rounds):
                begun = time.monotonic()
                if number and not until.fits(length):
                    self.budget.note(f"{name}: the time was used up after {number} rounds")
                    break
                await bursts.round(number, levels)
                length = time.monotonic() - begun
            if name == SAME_BLAS:
                if lineup.ours is not None:
                    await self._event_loop(setting, lineup.ours, max(levels))
                await self._scenarios(lineup, setting)

    async def _scenarios(self, lineup: Lineup, setting: Setting) -> None:
        """Run the scenarios that were asked for, each within its share of the time."""
        options = self.options
        sizes = Sizes(
            prompt_tokens=options.prompt_tokens,
            tokens=options.tokens,
            rounds=options.scenario_rounds,
            long=tuple(options.long),
            streams=options.scenario_streams,
            arrivals=options.arrivals,
            rate=options.rate,
        )
        stage = Stage(lineup, setting.model, sizes, self.results["bursts"])
        for section in options.sections:
            limit = 60 * options.section_minutes
            await self.budget.run(section, SCENARIOS[section](stage), least=20, limit=limit)
            self.results["scenarios"] = stage.as_data()

    async def _event_loop(self, setting: Setting, ours: Server, level: int) -> None:
        """Poll GET api/kernels while `level` streams run, and on the idle server for comparison."""
        with _polled(ours, 0.02) as idle:
            await asyncio.sleep(3)
        with _polled(ours, 0.02) as loaded:
            for burst in range(self.options.probe_rounds):
                prompts = make_prompts(
                    setting.model, level, self.options.prompt_tokens, f"probe {burst}"
                )
                await ours.run(prompts, self.options.tokens)
        self.results["event_loop"] = {
            "streams": level,
            "idle": report.percentiles(idle),
            "loaded": report.percentiles(loaded),
        }
        say(f"GET api/kernels beside {level} streams: {self.results['event_loop']['loaded']}")


@contextlib.contextmanager
def _polled(server: Server, interval: float) -> Iterator[list[float]]:
    """Poll while the block runs. The list gets the seconds when it ends."""
    command = [
        sys.executable, "-m", "benchmarks.harness.probe",
        str(server.endpoint.port), "/api/kernels", server.endpoint.key, str(interval),
    ]  # fmt: skip
    times: list[float] = []
    probe = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield times
        times += json.loads(probe.communicate(timeout=40)[0])
    finally:
        if probe.poll() is None:
            probe.kill()
            probe.wait()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--model",
        default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"),
        help=f"a model's folder, 'random' (untrained), {', '.join(NAMES)} (default: tiny-chat)",
    )
    parser.add_argument("--quick", action="store_true", help="one round in under two minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=200, help="tokens that each stream generates")
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--probe-rounds", type=int, default=3)
    parser.add_argument("--box-rounds", type=int, default=2, help="rounds of the second table")
    parser.add_argument("--box-levels", type=int, nargs="*", default=[1, 16])
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=["raw", *RECIPES],
        default=["raw", OURS, "mlx_lm.server", "mlx_vlm.server"],
        help="the contenders to run",
    )
    parser.add_argument(
        "--engine", action="store_true", help="also measure our engine without the Jupyter server"
    )
    parser.add_argument(
        "--with", dest="extra", nargs="*", default=[], choices=["vllm-mlx"],
        help="install these into separate environments (about 2 GB) and run them too",
    )  # fmt: skip
    parser.add_argument(
        "--environments",
        type=Path,
        default=ROOT / "build" / "benchmarks",
        help="the folder of these environments",
    )
    parser.add_argument(
        "--sections", nargs="*", choices=list(SCENARIOS), default=[],
        help="what to measure beside bursts, on the contenders of the first table",
    )  # fmt: skip
    parser.add_argument("--section-minutes", type=float, default=5.0, help="limit of each section")
    parser.add_argument("--scenario-rounds", type=int, default=2, help="rounds of each section")
    parser.add_argument("--scenario-streams", type=int, default=8, help="streams in the sections")
    parser.add_argument("--long", type=int, nargs="+", default=[4000, 16000], help="long prompts")
    parser.add_argument("--arrivals", type=int, default=32, help="requests that arrive at random")
    parser.add_argument("--rate", type=float, help="how many of them arrive a second")
    parser.add_argument("--budget", type=float, default=11.0, help="minutes for the whole run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument(
        "--publish", action="store_true", help="write the tables into benchmarks/README.md"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.levels, options.box_levels = 1, [1, 8], []
        options.tokens, options.probe_rounds = 100, 1
    return options


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run both tables and the scenarios, and return everything measured."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-bench-") as folder:
        work = Path(folder)
        bench = Bench(options)
        for name in options.extra:
            if problem := install(name, options.environments):
                bench.results["failures"][name] = problem
                say(problem)
            else:
                options.contenders.append(name)
        blas = find_blas()
        bench.results["blas"] = blas.name if blas else None
        plans = [
            (SAME_BLAS, "float32", blas, options.rounds, options.levels),
            (AS_SHIPPED, "bfloat16", None, options.box_rounds, options.box_levels),
        ]
        for table, dtype, preload, rounds, levels in plans:
            if not levels or not rounds:
                continue
            if not bench.budget.fits(30):
                bench.budget.note(f"{table}: left out, the time was used up")
                continue
            say(f"table: {table}")
            models = work / "models" / dtype
            model = models / (options.model if options.model in NAMES else "model")
            prepare_model(options.model, model, dtype, "varied")
            if table == SAME_BLAS and "lookups" in options.sections:
                if options.model in set(NAMES) - {SMOLLM2}:
                    prepare_model(options.model, models / REPEATS, dtype, "repeating")
                link_variants(models)
            streams = max([*options.levels, *options.box_levels, options.scenario_streams])
            setting = Setting(
                model, preload, work, options.environments, streams, variants_of(model)
            )
            # The first table must leave time for the scenarios and the second table.
            rest = options.sections or options.box_levels
            share = 0.6 if table == SAME_BLAS and rest else 1.0
            until = Budget(share * bench.budget.left)
            await bench.table(table, setting, rounds, levels, until)
        return bench.results


def main() -> None:
    """Run from the command line."""
    options = parse()
    begun = time.monotonic()
    # A preloaded BLAS is for the contenders, not for the client.
    os.environ.pop("LD_PRELOAD", None)
    results = asyncio.run(measure(options))
    results["minutes"] = round((time.monotonic() - begun) / 60, 1)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "serving.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.write(results, options.out)
    if options.publish:
        report.publish(text, ROOT / "benchmarks" / "README.md")
    print("\n" + text)


if __name__ == "__main__":
    main()
