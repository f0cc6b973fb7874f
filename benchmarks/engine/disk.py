"""`python -m benchmarks.engine.disk`: what the prefix cache on disk costs streams and the disk.

- `lock`: the processor time of writing and reading a gigabyte, and how much of the writing holds
  Python's interpreter lock. Beside that the speed that a thread in pure Python keeps meanwhile,
  which tells something on an idle machine only.
- `streams`: tokens per second of running streams while prompt after prompt is written, as slowly as
  the engine does while requests run, against the same streams without writing. Both alternate in
  one engine, a few steps each. Beside that the writing thread's share of the processor time, which
  depends less on other load.
- `day`: bytes written by 100 prompts that come once and ten agents of five turns, and by the
  engine's end.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.contenders import ROOT
from benchmarks.harness.load import make_prompts
from benchmarks.models.prepare import prepare_model
from mlx_notebook.engine.kv_cache.disk import block_file
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore
from mlx_notebook.engine.kv_cache.disk.write_limit import WriteLimit
from mlx_notebook.protocol import ChatPrompt, Done, Sampling
from tests.engine.process import EngineProcess

_WINDOW = 0.4  # seconds
_FOLDER_BYTES = 2**30
_LAYERS, _HEADS, _WIDTH = 28, 8, 128  # as Qwen3-0.6B in bfloat16: 115 kB a token


class Counter(threading.Thread):
    """A thread that counts as fast as Python lets it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count, self.stopped = 0, False

    def run(self) -> None:
        """Count until it is stopped."""
        while not self.stopped:
            self.count += 1

    def speed(self, work: Callable[[], object]) -> float:
        """Return its counts per second while this thread does some work again and again."""
        before, began = self.count, time.perf_counter()
        while time.perf_counter() - began < _WINDOW:
            work()
        return (self.count - before) / (time.perf_counter() - began)


class Unlocked:
    """Measures this thread's processor time in the calls that free the interpreter lock.

    While the context lasts, `block_file` uses this object as its modules `os` and `hashlib`.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "Unlocked":
        block_file.os = block_file.hashlib = self  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        block_file.os, block_file.hashlib = os, hashlib

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        return partial(self._timed, original) if callable(original) else original

    def sha256(self, data: memoryview | bytes = b"") -> "Digest":
        """Return a digest whose updates are measured."""
        digest = Digest(self)
        digest.update(data)
        return digest

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        try:
            return call(*arguments)
        finally:
            self.seconds += time.thread_time() - began


class Digest:
    """A SHA-256 whose updates are measured."""

    def __init__(self, unlocked: Unlocked) -> None:
        self._unlocked, self._sha = unlocked, hashlib.sha256()
        self.digest = self._sha.digest

    def update(self, data: memoryview | bytes) -> None:
        """Add data."""
        self._unlocked._timed(self._sha.update, data)


def measure_lock(rounds: int) -> dict[str, Any]:
    """Return what writing and reading cost, and what a counting thread keeps of its speed."""
    numbers = np.random.default_rng(0)
    shape = (1, _HEADS, 4 * BLOCK, _WIDTH)
    arrays: Arrays = {
        f"{layer}/{part}": numbers.integers(0, 2**16, shape, np.uint16)
        for layer in range(_LAYERS)
        for part in (0, 1)
    }
    fresh, tokens = itertools.count(1), list(range(4 * BLOCK))
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-disk-") as folder:
        store = DiskStore(Path(folder), _FOLDER_BYTES)

        def write() -> int:
            return store.write("model", [next(fresh), *tokens[1:]], arrays)

        size = store.write("model", tokens, arrays)
        work = {"writing": write, "reading": lambda: store.read("model", tokens)}
        results: dict[str, Any] = {}
        for name, job in work.items():
            costs = []
            for _ in range(rounds):
                with Unlocked() as unlocked:
                    began = time.thread_time()
                    job()
                    costs.append((time.thread_time() - began, unlocked.seconds))
            results[name] = {"CPU seconds a GB": min(cost for cost, _ in costs) / size * 1e9}
            if name == "writing":  # numpy frees the lock too when what was read is put together
                held = min(cost - free for cost, free in costs)
                results[name]["of them with the lock held"] = held / size * 1e9
        counter = Counter()
        counter.start()
        for name, job in work.items():
            shares = []
            for _ in range(rounds):
                alone = counter.speed(lambda: time.sleep(0.01))
                beside = counter.speed(job)
                shares.append(2 * beside / (alone + counter.speed(lambda: time.sleep(0.01))))
            results[name]["speed that a counting thread keeps"] = statistics.median(shares)
        counter.stopped = True
        counter.join()
    return results


class Gate(WriteLimit):
    """A limit that holds the writing thread while it is shut."""

    def __init__(self) -> None:
        super().__init__(0)
        self.open = threading.Event()
        self.cpu = 0.0

    def take(self, size: int) -> bool:
        """Wait until blocks may be written, and note the processor time of the writing thread."""
        self.open.wait()
        self.cpu = time.thread_time()
        return super().take(size)


def measure_streams(model: Path, streams: int, steps: int, rounds: int) -> dict[str, Any]:
    """Return the ratio of tokens per second with and without writing, of neighbouring slices."""
    import mlx.core as mx
    from mlx_lm.models.cache import KVCache

    from mlx_notebook.engine.kv_cache.disk.disk_cache import DiskPrefixCache
    from mlx_notebook.engine.runtime.activity import Activity
    from mlx_notebook.engine.scheduling.scheduler import Scheduler
    from mlx_notebook.protocol import EngineConfig, Event, Generate, TextPrompt

    events: list[Event] = []
    scheduler = Scheduler(EngineConfig(warm_up=False), events.extend, Activity())
    (text,) = make_prompts(model, 1, 50, "disk")
    for number in range(streams):
        sampling = Sampling(max_tokens=100_000, temperature=0.0, ignore_eos=True)
        prompt = TextPrompt(text=text)
        command = Generate(
            id=f"{number}", model="bench", path=str(model), prompt=prompt, sampling=sampling
        )
        scheduler.inbox.put(command)
    config = json.loads((model / "config.json").read_text())
    heads = config["num_key_value_heads"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    layers = [KVCache() for _ in range(config["num_hidden_layers"])]
    for layer in layers:
        part = mx.random.normal((1, heads, 8 * BLOCK, width))
        layer.update_and_fetch(part, part)
    mx.eval([layer.state for layer in layers])

    def step() -> None:
        scheduler._take_commands()
        scheduler.step()

    while scheduler._meter.stats().totals.generated_tokens < 8 * streams:
        step()
    ratios, gate, cpu = [], Gate(), 0.0
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-disk-") as folder:
        store = DiskStore(Path(folder), _FOLDER_BYTES)
        disk = DiskPrefixCache(store, gate, busy=lambda: True, pinned=lambda _: True)
        disk.open("bench", "bench", [KVCache()])

        def slice_of_steps() -> tuple[float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                if gate.open.is_set() and not disk.nbytes:
                    tokens = [random.getrandbits(60) for _ in range(8 * BLOCK)]
                    disk.write("bench", tokens, layers)
                step()
            return time.perf_counter() - wall, time.process_time() - cpu

        for _ in range(rounds):
            before = slice_of_steps()
            gate.open.set()
            during = slice_of_steps()
            gate.open.clear()
            after = slice_of_steps()
            ratios.append((before[0] + after[0]) / 2 / during[0])
            cpu += during[1]
        written = gate.status.total_written
        disk.stop()
        gate.open.set()
        disk.drain(10)
    return {
        "streams": streams,
        "slices": rounds,
        "steps of a slice": steps,
        "bytes written": written,
        "speed kept": statistics.median(ratios),
        "share of the processor time that the writing thread took": gate.cpu / cpu,
    }


def measure_day(model: Path, once: int, agents: int, turns: int) -> dict[str, Any]:
    """Return the bytes on disk before and after the engine's end, and those of all prompts."""
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-disk-") as folder:
        engine = EngineProcess(prefix_disk_path=folder, prefix_disk_bytes=2**40)

        def ask(messages: list[dict[str, Any]], tokens: int) -> tuple[str, int]:
            sampling = {"max_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
            request = engine.start("bench", model, ChatPrompt(messages=messages), **sampling)
            (end,) = engine.finish(request, timeout=300)
            if not isinstance(end, Done):
                raise RuntimeError(end.message)
            return engine.text(request), end.usage.prompt

        def on_disk() -> int:
            return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())

        computed = 0
        for text in make_prompts(model, once, 1000, "once"):
            computed += ask([{"role": "user", "content": text}], 8)[1]
        (system,) = make_prompts(model, 1, 600, "agents")
        for number in range(agents):
            messages = [{"role": "system", "content": system}]
            for question in make_prompts(model, turns, 130, f"agent {number}"):
                messages.append({"role": "user", "content": question})
                answer, computed_now = ask(messages, 64)
                messages.append({"role": "assistant", "content": answer})
            computed += computed_now
        size = on_disk()
        while time.sleep(1) or on_disk() > size:  # the writing thread is behind
            size = on_disk()
        engine.stop()
        return {
            "tokens of all conversations": computed,
            "bytes during the day": size,
            "bytes at the end": on_disk() - size,
        }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.disk", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["lock", "streams", "day"])
    parser.add_argument("--model", default=str(ROOT / "mlx_notebook" / "demo_models" / "tiny-chat"))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-disk-") as folder:
        model = Path(folder) / "model"
        prepare_model(options.model, model, "float32")
        if "lock" in options.parts:
            results["lock"] = measure_lock(options.rounds)
        if "streams" in options.parts:
            results["streams"] = [
                measure_streams(model, streams, options.steps, options.rounds)
                for streams in options.streams
            ]
        if "day" in options.parts:
            results["day"] = measure_day(model, 100, 10, 5)
    text = json.dumps(results, indent=1) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "disk.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
