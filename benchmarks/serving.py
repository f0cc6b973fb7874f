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
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contenders import (
    OURS,
    ROOT,
    Contender,
    Server,
    Setting,
    install,
    make_contenders,
)
from benchmarks.engine_alone import EngineAlone
from benchmarks.load import Burst, make_prompts
from benchmarks.processes import cpu_seconds, find_blas, memory
from benchmarks.shapes import NAMES

SAME_BLAS = "same BLAS, fp32"
AS_SHIPPED = "out of the box, bf16"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def prepare_model(source: str, target: Path, dtype: str) -> None:
    """Write the contenders' model in a separate process, so that this one does not load MLX."""
    module = "benchmarks.shapes" if source in NAMES else "benchmarks.model"
    command = [sys.executable, "-m", module, source, str(target), "--dtype", dtype]
    subprocess.run(command, check=True, cwd=ROOT)


class Bench:
    """One run: its settings, its deadline, and its measurements so far."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options = options
        self.work = work
        self.deadline: float = time.monotonic() + 60 * options.budget
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
            "idle": {},
            "failures": {},
            "event_loop": {},
        }

    def fits(self, seconds: float) -> bool:
        """Whether that many seconds still fit into the time limit."""
        return time.monotonic() + seconds < self.deadline

    async def table(self, name: str, setting: Setting, rounds: int, levels: list[int]) -> None:
        """Measure all contenders in turn, for each round and each number of streams."""
        async with self._started(name, setting) as contenders:
            await self._warm_up(setting, contenders, levels)
            self.results["idle"][name] = await _idle(contenders)
            length = 0.0
            for number in range(rounds):
                begun = time.monotonic()
                if number and not self.fits(length):
                    _say(f"the time budget is used up after {number} rounds of '{name}'")
                    break
                for level in levels:
                    # Each round begins with another contender: none is always first.
                    turn = number % len(contenders)
                    for contender in contenders[turn:] + contenders[:turn]:
                        await self._measure(name, setting, contender, level, number)
                length = time.monotonic() - begun
            ours = next((c for c in contenders if c.name == OURS), None)
            if isinstance(ours, Server) and name == SAME_BLAS:
                await self._event_loop(setting, ours, max(levels))

    @contextlib.asynccontextmanager
    async def _started(self, table: str, setting: Setting) -> AsyncIterator[list[Contender]]:
        running: list[Contender] = []
        try:
            contenders = make_contenders(setting, self.options.contenders)
            if self.options.engine:
                contenders.append(EngineAlone(setting))
            for contender in contenders:
                begun = time.monotonic()
                try:
                    await contender.start()
                except (RuntimeError, OSError, TimeoutError) as problem:
                    self.results["failures"][f"{table}: {contender.name}"] = str(problem)[:2000]
                    _say(f"{contender.name} did not start: {problem}")
                    with contextlib.suppress(AttributeError):
                        contender.stop()
                    continue
                running.append(contender)
                _say(f"{contender.name} is up after {time.monotonic() - begun:.1f} s")
            yield running
        finally:
            for contender in running:
                if killed := contender.stop():
                    _say(f"{contender.name}: {len(killed)} processes had to be killed")

    async def _warm_up(
        self, setting: Setting, contenders: list[Contender], levels: list[int]
    ) -> None:
        for contender in contenders:
            for level in sorted({1, max(levels)} & (contender.only or {1, max(levels)})):
                prompts = make_prompts(
                    setting.model, level, self.options.prompt_tokens, f"warm-up {level}"
                )
                await contender.run(prompts, 8)

    async def _measure(
        self, table: str, setting: Setting, contender: Contender, level: int, number: int
    ) -> None:
        if contender.only is not None and level not in contender.only:
            return
        # One stream is short and noisy: measure it several times per round.
        for repeat in range(3 if level == 1 else 1):
            salt = f"{table} {number} {repeat} {level}"
            prompts = make_prompts(setting.model, level, self.options.prompt_tokens, salt)
            before = cpu_seconds(contender.service.pid)
            try:
                samples = await contender.run(prompts, self.options.tokens)
            except (OSError, RuntimeError, TimeoutError) as problem:
                key = f"{table}: {contender.name}, {level} streams"
                self.results["failures"][key] = f"{type(problem).__name__}: {problem}"[:2000]
                _say(f"{key}: {type(problem).__name__} {problem}")
                return
            used = cpu_seconds(contender.service.pid) - before
            burst = Burst(table, contender.name, level, number, samples, used)
            figures = burst.figures
            self.results["bursts"].append(figures)
            if figures.get("total"):
                _say(
                    f"{contender.name:22} {level:3} streams {figures['total']:7.1f} tok/s, "
                    f"first token {1000 * (figures['first'] or 0):6.0f} ms"
                )
            if burst.errors:
                _say(f"{contender.name}: {len(burst.errors)} failed, such as: {burst.errors[0]}")

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
        _say(f"GET api/kernels beside {level} streams: {self.results['event_loop']['loaded']}")


@contextlib.contextmanager
def _polled(server: Server, interval: float) -> Iterator[list[float]]:
    """Poll while the block runs. The list gets the seconds when it ends."""
    command = [
        sys.executable, "-m", "benchmarks.probe",
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


async def _idle(contenders: list[Contender], seconds: float = 2.0) -> dict[str, dict[str, float]]:
    """Measure each idle contender: percent of one core, and bytes of memory."""
    await asyncio.sleep(0.5)
    before = {c.name: cpu_seconds(c.service.pid) for c in contenders}
    await asyncio.sleep(seconds)
    return {
        c.name: {
            "cpu_percent": 100 * (cpu_seconds(c.service.pid) - before[c.name]) / seconds,
            "memory": memory(c.service.pid),
        }
        for c in contenders
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--model",
        default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"),
        help="a model's folder, or 'random' for an untrained one (default: tiny-chat)",
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
    """Run both tables and return everything measured."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-bench-") as folder:
        work = Path(folder)
        begun = time.monotonic()
        bench = Bench(options, work)
        for name in options.extra:
            if problem := install(name, options.environments):
                bench.results["failures"][name] = problem
                _say(problem)
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
            # The first table must leave time for the second one.
            share = 0.65 if table == SAME_BLAS and options.box_levels else 1.0
            bench.deadline = begun + 60 * options.budget * share
            if not bench.fits(0):
                bench.results["failures"][table] = "left out: the time budget was used up"
                continue
            _say(f"table: {table}")
            model = work / "models" / dtype
            prepare_model(options.model, model, dtype)
            setting = Setting(model, preload, work, options.environments)
            await bench.table(table, setting, rounds, levels)
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
