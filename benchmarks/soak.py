"""`python -m benchmarks.soak`: eight clients of one server, under many faults.

The engine is killed and paused, the server is paused, the disk is full for a while, clients hang
up, send invalid bodies and swap models. Exits with 1 if an operation took too long, ended without
an answer or with an error that is not listed below, if memory or descriptors grew, if the server's
log has a traceback, or if the server does not become idle.
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

import httpx
import psutil

from benchmarks.endurance.soak_clients import CLIENTS, Operation
from benchmarks.harness.contenders import ROOT
from benchmarks.harness.running import Running, running
from benchmarks.models.prepare import prepare_model

# The limit of one operation in seconds: a hung engine is detected after half a minute, then a new
# one must start and load the model, beside seven other clients.
HUNG_AFTER = 120.0
# The errors that these operations may end in, and why. Any other error is a failure.
STATED = {
    "engine_unavailable": "the engine was killed or hung, and is being restarted",
    "engine_error": "the engine was stopped while it answered",
    "api_error": "Anthropic's word for the two above",
    "queue_full": "more requests came than may wait",
    "request_cancelled": "another client stopped the request",
    "model_not_loaded": "the model was unloaded between two orders",
    "invalid_request": "a busy model was to be unloaded, or the body was bad",
    "insufficient_memory": "the model that was asked for does not fit beside a busy one",
    "disk_full": "the disk was full",
    "store_unavailable": "the disk was full, and a stored response was asked for",
}
_DROPPED_SHARE = 0.15
_REST_SECONDS = 60.0
# How much the server's memory may grow between the second and the last quarter of the time.
_MOST_GROWTH = 40e6
_MOST_NEW_DESCRIPTORS = 16


class Soak:
    """Clients of one server, each with one operation at a time, and the injected faults."""

    def __init__(self, live: Running, client: httpx.AsyncClient, key: str, seed: int) -> None:
        self.live, self.client, self.key, self.seed = live, client, key, seed
        self.ends = 0.0
        self.fates: dict[str, Counter[str]] = {name: Counter() for name in CLIENTS}
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []
        self.samples: list[tuple[float, int, int]] = []
        self.longest = 0.0
        (self.server,) = [
            process for process in live.family() if process.pid == live.server.service.process.pid
        ]

    async def run(self, minutes: float) -> None:
        """Run clients and faults for so many minutes, then wait until the server is idle."""
        self.ends = time.monotonic() + 60 * minutes
        async with asyncio.TaskGroup() as group:
            for name in CLIENTS:
                group.create_task(self._client(name))
            group.create_task(self._faults())
            group.create_task(self._sample())
        await self._rest()

    async def _client(self, name: str) -> None:
        choose = random.Random(f"{self.seed} {name}")
        async with Operation(self.client, self.key, choose) as operation:
            await self._operate(name, operation, choose)

    async def _operate(self, name: str, operation: Operation, choose: random.Random) -> None:
        while time.monotonic() < self.ends:
            drops = choose.random() < _DROPPED_SHARE
            limit = choose.choice([0.0, 0.02, 0.1, 0.5]) if drops else HUNG_AFTER
            began = time.monotonic()
            try:
                async with asyncio.timeout(limit):
                    fate = await CLIENTS[name](operation)
            except TimeoutError:
                fate = "dropped" if drops else "hung"
            except httpx.HTTPError as error:
                fate = f"broke off: {error!r}"
            self.longest = max(self.longest, time.monotonic() - began)
            self.fates[name][fate] += 1
            if fate not in ("answered", "dropped") and fate not in STATED:
                self.problems.append(f"{name}: {fate}")
            if fate in STATED:
                await asyncio.sleep(0.5)

    # --- the faults ------------------------------------------------------------------------------

    async def _faults(self) -> None:
        choose = random.Random(f"{self.seed} faults")
        kinds = [self._kill, self._stop_engine, self._stop_server, self._stop_both, self._fill]
        while True:
            choose.shuffle(kinds)
            for kind in kinds:
                await asyncio.sleep(choose.uniform(4, 10))
                if time.monotonic() > self.ends:
                    return
                self.faults[kind.__name__.strip("_").replace("_", " ")] += 1
                await kind(choose)

    async def _kill(self, _: random.Random) -> None:
        for engine in self.live.engines():
            engine.kill()

    async def _stop_engine(self, choose: random.Random) -> None:
        await self._stopped(self.live.engines(), choose.choice([0.5, 3.0]))

    async def _stop_server(self, choose: random.Random) -> None:
        await self._stopped([self.server], choose.choice([0.5, 3.0, 8.0]))

    async def _stop_both(self, choose: random.Random) -> None:
        await self._stopped([*self.live.engines(), self.server], choose.choice([0.5, 3.0]))

    async def _stopped(self, processes: list[psutil.Process], seconds: float) -> None:
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in processes:
            if process.is_running():
                os.kill(process.pid, signal.SIGCONT)

    async def _fill(self, _: random.Random) -> None:
        """Make every write of the server and the engine fail for some seconds (Linux only)."""
        if not sys.platform.startswith("linux"):
            return
        processes = [self.server, *self.live.engines()]
        before = [process.rlimit(psutil.RLIMIT_FSIZE) for process in processes]
        for process, (_, hard) in zip(processes, before, strict=True):
            process.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
        await asyncio.sleep(4)
        for process, limits in zip(processes, before, strict=True):
            if process.is_running():
                process.rlimit(psutil.RLIMIT_FSIZE, limits)

    # --- what it costs ----------------------------------------------------------------------------

    async def _sample(self) -> None:
        while time.monotonic() < self.ends:
            with self.server.oneshot():
                memory, descriptors = self.server.memory_info().rss, self.server.num_fds()
            self.samples.append((time.monotonic(), memory, descriptors))
            await asyncio.sleep(1.0)

    async def _rest(self) -> None:
        deadline = time.monotonic() + _REST_SECONDS
        while True:
            status = (await self.client.get("mlx/status")).json()
            if not status["requests"] and not status["loading"]:
                break
            if time.monotonic() > deadline:
                self.problems.append(f"it does not come to rest: {status['requests']}")
                return
            await asyncio.sleep(0.2)
        async with (
            Operation(self.client, self.key, random.Random(self.seed)) as operation,
            asyncio.timeout(HUNG_AFTER),
        ):
            fate = await operation.chat()
        if fate != "answered":
            self.problems.append(f"it does not answer afterwards: {fate}")
        if len(self.live.engines()) != 1:
            self.problems.append(f"{len(self.live.engines())} engines are there at the end")

    def growth(self) -> tuple[float, int]:
        """Return the growth of memory (bytes) and descriptors, second quarter to the last."""
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        if not early:
            return 0.0, 0
        memory = _median([m for _, m, _ in late]) - _median([m for _, m, _ in early])
        descriptors = _median([d for _, _, d in late]) - _median([d for _, _, d in early])
        return memory, int(descriptors)


def _median(values: list[int]) -> float:
    return float(sorted(values)[len(values) // 2])


async def measure(minutes: float, seed: int) -> dict[str, Any]:
    """Run one server with the faults. Return the outcomes of the operations."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-soak-") as folder:
        work = Path(folder)
        prepare_model(str(ROOT / "mlx_notebook/demo_models/tiny-chat"), work / "soak", "float32")
        # A hundred traces would take minutes to reach their limit, and hide leaks.
        async with running(work / "soak", work, "--MlxNotebookApp.traces_limit=5") as live:
            endpoint = live.server.endpoint
            async with httpx.AsyncClient(
                base_url=f"http://{endpoint.host}:{endpoint.port}/",
                headers={"Authorization": f"Bearer {endpoint.key}"},
                timeout=None,
                trust_env=False,
            ) as client:
                soak = Soak(live, client, endpoint.key, seed)
                await soak.run(minutes)
                restarts = (await live.status())["engine"]["restarts"]
            log = live.server.service.log.read_text(errors="replace")
        await asyncio.sleep(1.0)
        left = live.family()
        for process in left:
            process.kill()
    memory, descriptors = soak.growth()
    problems = soak.problems
    problems += [f"{len(left)} processes are left"] * bool(left)
    problems += [f"the server grew by {memory / 1e6:.0f} MB"] * (memory > _MOST_GROWTH)
    problems += [f"{descriptors} descriptors more"] * (descriptors > _MOST_NEW_DESCRIPTORS)
    if "Traceback" in log:
        at = log.index("Traceback")
        problems.append(f"the log has a traceback: {log[at : at + 3000]}")
    return {
        "minutes": minutes,
        "seed": seed,
        "fates": {name: dict(fates.most_common()) for name, fates in soak.fates.items()},
        "faults": dict(soak.faults),
        "engine_restarts": restarts,
        "longest_seconds": round(soak.longest, 1),
        "memory_growth": memory,
        "descriptor_growth": descriptors,
        "problems": problems,
    }


def render(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = ["| client | what became of its operations |", "|---|---|"]
    for name, fates in found["fates"].items():
        rows.append(f"| {name} | {', '.join(f'{fate}: {n}' for fate, n in fates.items())} |")
    faults = ", ".join(f"{kind}: {count}" for kind, count in found["faults"].items())
    return "\n".join(
        [
            *rows,
            "",
            f"{found['minutes']:g} minutes, seed {found['seed']}. Faults: {faults}; the engine "
            f"was restarted {found['engine_restarts']} times. Longest operation: "
            f"{found['longest_seconds']} s. The server's memory changed by "
            f"{found['memory_growth'] / 1e6:.1f} MB and its descriptors by "
            f"{found['descriptor_growth']} from the second to the last quarter.",
            "",
        ]
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    found = asyncio.run(measure(options.minutes, options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "soak.md").write_text(render(found))
    print(render(found))
    if found["problems"]:
        sys.exit("failed:\n" + "\n".join(found["problems"]))


if __name__ == "__main__":
    main()
