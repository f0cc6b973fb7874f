"""`python -m benchmarks.accelerator`: minutes on a machine without a network.

Makes a model with random weights, starts raw mlx-lm, this server and mlx_lm.server, and runs the
sections one after another. Each has a limit of its own; one that does not fit into the total is
skipped, and the report says so. Results are written after each section, to
`accelerator-CARD-MODEL.json` and `.md`. `accelerator.sh` packs what such a machine needs.
"""

import argparse
import asyncio
import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
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
from benchmarks.harness.contenders import OURS, RECIPES, ROOT, Setting, make_contenders
from benchmarks.harness.lineup import Lineup, say, started
from benchmarks.harness.processes import find_blas
from benchmarks.models.shapes import NAMES, SMOLLM2

TABLE = "bursts"
# The seconds that a section needs at least to show anything, and may take at most.
LIMITS = {
    TABLE: (30, 130),
    "long": (15, 45),
    "pauses": (12, 30),
    "arrivals": (10, 25),
    "grammars": (8, 20),
    "lookups": (10, 30),
    "quantised": (10, 30),
    "cancelled": (6, 15),
}


def card() -> str | None:
    """Return the name of the accelerator, or `None` if there is only a CPU."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    else:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are here."""
    found = {}
    for name in ("mlx", "mlx-lm", "mlx-cuda-13", "jupyter-server"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def make_models(name: str, folder: Path, options: argparse.Namespace) -> Path:
    """Write the model, one that repeats itself, and links under the names of their variants."""
    model = folder / name
    made = {model: "varied"}
    if "lookups" in options.sections and name != SMOLLM2:
        made[folder / REPEATS] = "repeating"
    for target, answers in made.items():
        command = [sys.executable, "-m", "benchmarks.models.shapes", name, str(target)]
        command += ["--dtype", options.dtype, "--answers", answers]
        if options.tokenizer is not None:
            command += ["--tokenizer", str(options.tokenizer.resolve())]
        subprocess.run(command, check=True, cwd=ROOT)
    link_variants(folder)
    return model


class Run:
    """The measurements of one model, and the files that they are written to."""

    def __init__(self, name: str, options: argparse.Namespace, budget: Budget) -> None:
        self.name = name
        self.options = options
        self.budget = budget
        self.began = time.monotonic()
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": {
                "card": options.card,
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "versions": versions(),
            "settings": {
                "model": name,
                "dtype": options.dtype,
                "tokens": options.tokens,
                "prompt_tokens": options.prompt_tokens,
            },
            "bursts": [],
            "scenarios": [],
            "failures": {},
            "notes": [],
        }

    async def measure(self) -> None:
        """Start the contenders and run the sections."""
        options = self.options
        with tempfile.TemporaryDirectory(prefix="mlx-notebook-accelerator-") as folder:
            work = Path(folder)
            model = make_models(self.name, work / "models", options)
            say(f"{self.name} is made, {self.budget.left:.0f} s are left")
            setting = Setting(
                model=model,
                blas=None if options.card else find_blas(),
                work=work,
                environments=work,
                streams=max(options.levels),
                variants=variants_of(model),
            )
            async with started(make_contenders(setting, options.contenders)) as lineup:
                self.results["failures"] |= lineup.failures
                await self._sections(lineup, model)
            self._show_logs(work)

    def _show_logs(self, work: Path) -> None:
        """Print the ends of the contenders' logs if something went wrong."""
        if self.budget.notes or self.results["failures"]:
            for log in sorted(work.glob("*.log")):
                lines = log.read_text(errors="replace").splitlines()[-20:]
                print(f"--- the end of {log.name}", *lines, sep="\n", flush=True)

    async def _sections(self, lineup: Lineup, model: Path) -> None:
        options = self.options
        stage = Stage(lineup, model, options.sizes, self.results["bursts"])
        for section in options.sections:
            work = self._bursts(lineup, model) if section == TABLE else SCENARIOS[section](stage)
            least, limit = (options.scale * seconds for seconds in LIMITS[section])
            await self.budget.run(f"{self.name}, {section}", work, least, limit)
            self.results["scenarios"] = stage.as_data()
            self.write()

    async def _bursts(self, lineup: Lineup, model: Path) -> None:
        options = self.options
        levels = options.levels
        sizes = (options.prompt_tokens, options.tokens)
        await lineup.warm_up(model, levels, *sizes)
        say(f"warm, {self.budget.left:.0f} s are left")
        bursts = Bursts(TABLE, lineup, model, sizes, self.results)
        for number in range(options.rounds):
            await bursts.round(number, levels)

    def write(self) -> None:
        """Write what there is."""
        self.results["notes"] = self.budget.notes
        self.results["seconds"] = round(time.monotonic() - self.began)
        place = self.options.card or "cpu"
        slug = "".join(c if c.isalnum() or c == "." else "-" for c in place.lower())
        stem = self.options.out / f"accelerator-{slug}-{self.name}"
        stem.with_name(f"{stem.name}.json").write_text(json.dumps(self.results, indent=1) + "\n")
        stem.with_name(f"{stem.name}.md").write_text(report.render(self.results))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    sections = [TABLE, *SCENARIOS]
    parser.add_argument("--model", nargs="+", choices=NAMES, default=["qwen3-0.6b"])
    parser.add_argument("--tokenizer", type=Path, help="a folder with a tokenizer (no network)")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"])
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=["raw", *RECIPES],
        default=["raw", OURS, "mlx_lm.server"],
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[8, 32, 1, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128, help="tokens that a stream generates")
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--long", type=int, nargs="+", default=[4000, 16000])
    parser.add_argument("--arrivals", type=int, default=32, help="requests that arrive at random")
    parser.add_argument("--rate", type=float, help="how many arrive a second")
    parser.add_argument("--total", type=float, default=270, help="seconds for everything")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for each section's limit")
    parser.add_argument("--quick", action="store_true", help="small sizes and one round")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.levels, options.rounds = [1, 4], 1
        options.tokens, options.prompt_tokens = 24, 60
        options.long, options.arrivals = [300, 900], 6
    options.card = card()
    if options.dtype is None:
        options.dtype = "bfloat16" if options.card else "float32"
    options.sizes = dataclasses.replace(
        Sizes(),
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        rounds=options.rounds,
        long=tuple(options.long),
        streams=min(8, max(options.levels)),
        arrivals=options.arrivals,
        rate=options.rate,
    )
    return options


def main() -> None:
    """Run from the command line."""
    options = parse()
    # A preloaded BLAS is for the contenders, not for the client.
    os.environ.pop("LD_PRELOAD", None)
    options.out.mkdir(parents=True, exist_ok=True)
    budget = Budget(options.total)
    for name in options.model:
        if not budget.fits(LIMITS[TABLE][0] * options.scale):
            budget.note(f"{name}: skipped, {max(0.0, budget.left):.0f} s were left of the total")
            continue
        run = Run(name, options, budget)
        try:
            asyncio.run(run.measure())
        finally:
            run.write()
        print("\n" + report.render(run.results), flush=True)


if __name__ == "__main__":
    main()
