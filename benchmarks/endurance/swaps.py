"""`python -m benchmarks.endurance.swaps`: eight clients load, unload and use models at random.

Operations are loads, unloads, pins, changes of settings and requests, over HTTP; clients drop some
of them. The memory budget holds one and a half models, one model is truncated, and one can never
fit. Prints the outcome of each operation, and the engine's memory before and after. Exits with 1 if
an operation hung or ended without an answer, or if memory did not return.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.engine.loading import make_models
from benchmarks.harness.contenders import ROOT
from benchmarks.harness.running import running

CLIENTS = 8
# The limit of one operation in seconds: seven others may come first, each with a model to load.
HUNG_AFTER = 120.0
# The errors that these operations may end in. Any other error is a failure.
STATED = {
    "model_load_failed",  # the truncated model
    "insufficient_memory",  # the model that is too large, or one beside a pinned model
    "invalid_request",  # unloading a busy model, pinning one that is not loaded
    "context_length_exceeded",  # after a setting has shortened the context
    "request_cancelled",
    "nothing_to_cancel",
}
_KINDS = {
    "chat": 6, "stream": 6, "completion": 2, "tokens": 1, "embedding": 1, "load": 3,
    "streamed load": 2, "unload": 4, "pin": 1, "cancel": 1, "settings": 1,
}  # fmt: skip
_SETTINGS = ({}, {"context_limit": 512}, {"prompt_lookup": 4}, {"kv_bits": 8})
_DROPPED_SHARE = 0.15
_SLACK = 100_000


class Swaps:
    """Clients of one server, each with one operation at a time.

    Each of `sound` can be loaded, but only one at a time. None of `unsound` can be loaded.
    `settings` are the settings that a model may get.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        sound: list[str],
        unsound: list[str],
        seed: int,
        settings: Sequence[dict[str, Any]] = ({}, {"context_limit": 512}, {"prompt_lookup": 4}),
    ) -> None:
        self.client, self.sound, self.unsound, self.seed = client, sound, unsound, seed
        self.settings = settings
        self.fates: Counter[str] = Counter()
        self.problems: list[str] = []

    async def run(self, operations: int) -> None:
        """Run so many operations, shared by the clients."""
        left = iter(range(operations))

        async def one(number: int) -> None:
            choose = random.Random(f"{self.seed} {number}")
            for serial in left:
                await self._operation(serial, choose)

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))

    async def _operation(self, serial: int, choose: random.Random) -> None:
        kind = choose.choices(list(_KINDS), list(_KINDS.values()))[0]
        models = self.sound * 4 + self.unsound
        model = choose.choice(self.sound if kind == "settings" else models)
        drops = choose.random() < _DROPPED_SHARE
        limit = choose.choice([0.0, 0.02, 0.1, 0.5]) if drops else HUNG_AFTER
        try:
            async with asyncio.timeout(limit):
                fate = await self._sent(kind, model, choose)
        except TimeoutError:
            fate = "dropped" if drops else "hung"
        except httpx.HTTPError as error:
            fate = f"broke off: {error!r}"
        self.fates[fate] += 1
        if fate not in ("answered", "dropped") and fate not in STATED:
            self.problems.append(f"operation {serial}, {kind} of {model}: {fate}")

    async def _sent(self, kind: str, model: str, choose: random.Random) -> str:
        """Send one operation. Return its outcome."""
        text = "again and again " * choose.randint(1, 60)
        tokens = choose.randint(1, 60)
        ask = {"model": model, "max_tokens": tokens, "ignore_eos": True}
        chat = {**ask, "messages": [{"role": "user", "content": text}]}
        match kind:
            case "chat":
                return await self._post("v1/chat/completions", {**chat, "n": choose.choice([1, 2])})
            case "stream":
                return await self._stream("v1/chat/completions", {**chat, "stream": True})
            case "completion":
                return await self._post("v1/completions", {**ask, "prompt": text})
            case "tokens":
                return await self._post("tokenize", {"model": model, "content": text})
            case "embedding":
                return await self._post("v1/embeddings", {"model": model, "input": [text, "two"]})
            case "load":
                return await self._post("mlx/models/load", {"model": model})
            case "streamed load":
                return await self._stream("mlx/models/load", {"model": model, "stream": True})
            case "unload":
                return await self._post("mlx/models/unload", {"model": model})
            case "pin":
                pinned = await self._post("mlx/models/pin", {"model": model, "pinned": True})
                await asyncio.sleep(choose.random() / 2)
                loose = await self._post("mlx/models/pin", {"model": model, "pinned": False})
                return pinned if loose == "answered" else loose
            case "cancel":
                return await self._post("mlx/models/cancel", {"model": model})
        base = model.partition("+")[0]  # its adapters have no settings of their own
        answer = await self.client.put(
            f"mlx/models/{base}/settings", json=choose.choice(self.settings)
        )
        return _fate(answer.status_code, answer.json())

    async def _post(self, path: str, body: dict[str, Any]) -> str:
        answer = await self.client.post(path, json=body)
        return _fate(answer.status_code, answer.json())

    async def _stream(self, path: str, body: dict[str, Any]) -> str:
        async with self.client.stream("POST", path, json=body) as answer:
            if answer.status_code != 200:
                return _fate(answer.status_code, json.loads(await answer.aread()))
            last: dict[str, Any] = {}
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return "answered"
                if line.startswith("data: "):
                    last = json.loads(line[6:])
            if "error" in last:
                return str(last["error"]["code"])
            return "answered" if last.get("phase") == "done" else f"broke off after {last}"

    async def emptied(self, at_most: int | None = None) -> dict[str, int]:
        """Wait until the server is idle, unload all models, and return the engine's memory.

        More than `at_most` active bytes are a failure.
        """
        await self._until(lambda s: not s["requests"] and not s["loading"])
        for model in self.sound:
            await self.client.post("mlx/models/pin", json={"model": model, "pinned": False})
            await self.client.post("mlx/models/unload", json={"model": model})
        # Arrays that are being written to disk are freed a little later.
        await self._until(
            lambda s: (
                not s["models"]
                and not s["memory"]["cache"]
                and (at_most is None or s["memory"]["active"] <= at_most)
            )
        )
        memory: dict[str, int] = (await self._status())["memory"]
        return memory

    async def _until(self, done: Any) -> None:
        deadline = time.monotonic() + 30
        while not done(status := await self._status()):
            if time.monotonic() > deadline:
                left = {key: status[key] for key in ("requests", "loading", "models", "memory")}
                self.problems.append(f"it does not come to rest: {left}")
                return
            await asyncio.sleep(0.1)

    async def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = (await self.client.get("mlx/status")).raise_for_status().json()
        return status


def _fate(status: int, body: dict[str, Any]) -> str:
    if status == 200:
        return "answered"
    code, message = body["error"]["code"], body["error"]["message"]
    return str(code) if code in STATED and message else f"status {status}: {body['error']}"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run one server with all seeds. Return the outcomes of the operations."""
    from mlx_notebook.engine.residency.memory_need import footprint
    from mlx_notebook.protocol import ModelOptions

    with tempfile.TemporaryDirectory(prefix="mlx-notebook-swaps-") as folder:
        work = Path(folder)
        shelf = work / "models"
        models = make_models(shelf, 4, options.hidden, options.layers)
        (large,) = make_models(work / "large", 1, 2 * options.hidden, 2 * options.layers)
        large.rename(shelf / "too-large")
        file = models.pop() / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        budget = int(footprint("model", models[0], ModelOptions()).total * 1.5)
        traits = (f"memory_budget_bytes={budget}", "swap_patience_seconds=0.5", "queue_limit=256")
        async with running(models[0], work, *(f"--MlxNotebookApp.{t}" for t in traits)) as live:
            endpoint = live.server.endpoint
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{endpoint.port}/",
                headers={"Authorization": f"Bearer {endpoint.key}"},
                timeout=None,
                trust_env=False,
            ) as client:
                names, runs, problems = [model.name for model in models], [], []
                # Code that the first load of each model compiles or imports stays in memory.
                first = Swaps(client, names, [], 0)
                for name in names:
                    await client.post("mlx/models/load", json={"model": name})
                before = await first.emptied()
                for seed in options.seed:
                    broken = [file.parent.name, "too-large"]
                    swaps = Swaps(client, names, broken, seed, _SETTINGS)
                    began = time.monotonic()
                    await swaps.run(options.operations)
                    seconds = round(time.monotonic() - began, 1)
                    after = await swaps.emptied(before["active"] + _SLACK)
                    fates = dict(swaps.fates.most_common())
                    runs.append({"seed": seed, "seconds": seconds, "fates": fates, "after": after})
                    problems += [f"seed {seed}: {problem}" for problem in swaps.problems]
                restarts = (await live.status())["engine"]["restarts"]
    if restarts:
        problems.append(f"the engine ended {restarts} times")
    return {
        "operations": options.operations,
        "model_bytes": budget // 3 * 2,
        "before": before,
        "runs": runs,
        "problems": problems,
    }


def render(found: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        "| seed | seconds | what became of the operations | MLX's memory after, MB | process, MB |",
        "|---:|---:|---|---:|---:|",
    ]
    start = {"seed": "(start)", "seconds": "", "fates": {}, "after": found["before"]}
    for run in (start, *found["runs"]):
        fates = ", ".join(f"{fate}: {count}" for fate, count in run["fates"].items())
        active, process = (f"{run['after'][k] / 1e6:.1f}" for k in ("active", "process"))
        rows.append(f"| {run['seed']} | {run['seconds']} | {fates} | {active} | {process} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endurance.swaps", description=__doc__
    )
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--hidden", type=int, default=512, help="size of each model")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "swaps.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "swaps.md").write_text(render(found))
    print(render(found))
    if found["problems"]:
        sys.exit("failed: " + "; ".join(found["problems"]))


if __name__ == "__main__":
    main()
