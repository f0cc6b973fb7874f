"""`python -m benchmarks.engine.steps`: where the time of a decode step goes, beside mlx-lm's.

One process loads a model and decodes rows that have begun, in turn with mlx-lm's `BatchGenerator`
and with the engine's `RowGenerator`. Prints for each, in milliseconds, medians of all steps:

`step`
    From the end of one step to the end of the next.
`build`
    In Python, until the arrays of the step are handed to MLX.
`launch`
    In `mx.async_eval`, which launches the kernels.
`wait`
    Until the tokens of the step before are there, and what is done with them.

With `--burst TOKENS` it answers whole bursts instead: prompts that arrive together, so many tokens
each. It prints the medians of what `Burst` has, and how each round compares with mlx-lm's. This is
what the batch costs, without what the engine's process and the server add.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx_lm
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import make_prompt_cache

from benchmarks.models.prepare import prepare_model
from mlx_notebook.engine.batching.prefill_policy import PrefillLimits, PrefillPolicy, PrefillSpeed
from mlx_notebook.engine.batching.row_generator import RowGenerator
from mlx_notebook.engine.sampling.row import Row

ENDLESS = 100_000


class Watch:
    """Measures the calls of `mx.async_eval` within a step."""

    def __init__(self) -> None:
        self.began = self.launched = self.done = 0.0
        self._real = mx.async_eval

    def __enter__(self) -> "Watch":
        mx.async_eval = self._launch
        return self

    def __exit__(self, *problem: object) -> None:
        mx.async_eval = self._real

    def _launch(self, *arrays: Any) -> None:
        began = time.perf_counter()
        self._real(*arrays)
        self.began, self.done = self.began or began, time.perf_counter()
        self.launched += self.done - began

    def step(self, run: Callable[[], object]) -> dict[str, float]:
        """Run a step and return its times, in seconds."""
        self.began = self.launched = 0.0
        start = time.perf_counter()
        run()
        end = time.perf_counter()
        return {
            "step": end - start,
            "build": self.began - start,
            "launch": self.launched,
            "wait": end - self.done,
        }


def prompts(count: int, tokens: int, salt: int) -> list[list[int]]:
    """Return prompts of about `tokens` tokens, of unequal lengths."""
    return [
        [(7 * i + 13 * row + salt) % 4000 + 50 for i in range(tokens - row % 16)]
        for row in range(count)
    ]


Step = Callable[[], tuple[Any, list[Any]]]
"""Makes a step; returns what was computed of prompts, and the tokens of rows that decode."""

Begin = Callable[[Any, list[list[int]], int], Step]
"""Gives a new batch of a model some prompts, to be answered with so many tokens each."""


def raw(model: Any, asked: list[list[int]], tokens: int) -> Step:
    """Return a function that makes a step of mlx-lm's batch, in which all prompts wait."""
    rows = len(asked)
    batch = BatchGenerator(
        model, completion_batch_size=rows, prefill_batch_size=rows, stop_tokens=[]
    )
    batch.insert(asked, [tokens] * rows)
    return batch.next


def ours(speed: PrefillSpeed) -> Begin:
    """Return what does the same for the engine's batch. `speed` goes on to be measured."""

    def begin(model: Any, asked: list[list[int]], tokens: int) -> Step:
        rows = len(asked)
        limits = PrefillLimits(rounding=mx.cuda.is_available(), rows=rows)
        policy = PrefillPolicy(limits, speed)
        batch = RowGenerator(model, policy, rows, lambda: make_prompt_cache(model))
        for prompt in asked:
            cache = make_prompt_cache(model)
            batch.insert([prompt], Row(), cache=cache, tokens=[], max_tokens=tokens, ends=())
        return batch.next

    return begin


class Burst(NamedTuple):
    """What a burst took, in seconds.

    Attributes
    ----------
    time, processor
        Until the last token, and the processor time of all threads meanwhile.
    first, all_begun
        Until some row has its first token, and until all rows have.
    steps
        The number of steps.
    """

    time: float
    processor: float
    first: float
    all_begun: float
    steps: int


def answer(step: Step, rows: int, tokens: int) -> Burst:
    """Make steps until all rows have all their tokens."""
    began, used = time.perf_counter(), time.process_time()
    first = all_begun = 0.0
    counts: Counter[int] = Counter()
    steps = 0
    while counts.total() < rows * tokens:
        counts.update(token.uid for token in step()[1])
        steps += 1
        passed = time.perf_counter() - began
        first = first or (passed if counts else 0.0)
        all_begun = all_begun or (passed if len(counts) == rows else 0.0)
    mx.synchronize()
    passed, used = time.perf_counter() - began, time.process_time() - used
    return Burst(passed, used, first, all_begun, steps)


def in_turn(options: argparse.Namespace) -> Iterator[tuple[int, str, Begin]]:
    """Yield the number of each round, and whose turn it is."""
    contenders = [("mlx-lm", raw), ("engine", ours(PrefillSpeed(8000.0)))]
    for turn in range(options.rounds):
        for name, begin in contenders[:: -1 if turn % 2 else 1]:
            yield turn, name, begin
            mx.synchronize()
            mx.clear_cache()


def burst(model: Any, rows: int, options: argparse.Namespace) -> dict[str, list[Burst]]:
    """Answer bursts of so many rows on both, in turn; return each one's.

    The first of several rounds is left out, because it compiles.
    """
    found: dict[str, list[Burst]] = {}
    for turn, name, begin in in_turn(options):
        step = begin(model, prompts(rows, options.prompt_tokens, turn), options.burst)
        found.setdefault(name, []).append(answer(step, rows, options.burst))
    return {name: bursts[1:] or bursts for name, bursts in found.items()}


def measure(model: Any, rows: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure a number of rows on both, in turn; return each one's times, in milliseconds."""
    times: dict[str, list[dict[str, float]]] = {}
    for turn, name, begin in in_turn(options):
        step = begin(model, prompts(rows, options.prompt_tokens, turn), ENDLESS)
        while len(step()[1]) < rows:
            pass
        with Watch() as watch:
            found = [watch.step(step) for _ in range(options.steps)]
        # The first steps compile.
        times.setdefault(name, []).extend(found[options.steps // 3 :])
    return {
        name: {key: 1000 * statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in times.items()
    }


def print_bursts(rows: int, found: dict[str, list[Burst]]) -> None:
    """Print the medians of each one's bursts, and the ratio of their times in each round."""
    for name, bursts in found.items():
        medians = zip(Burst._fields, map(statistics.median, zip(*bursts, strict=True)), strict=True)
        line = ", ".join(f"{key} {value:7.3f}" for key, value in medians)
        print(f"{rows:3} rows  {name:8} {line}", flush=True)
    pairs = zip(found["engine"], found["mlx-lm"], strict=True)
    ratios = [ours.time / theirs.time for ours, theirs in pairs]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{rows:3} rows  ratio {statistics.median(ratios):.3f} of {each}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.steps", description=__doc__)
    parser.add_argument("--model", default="tiny", help="a model's folder or the name of a shape")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="float32")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--burst", type=int, default=0, help="tokens of each answer of a burst")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-steps-") as folder:
        path = Path(options.model)
        if not path.is_dir():
            path = Path(folder) / "model"
            prepare_model(options.model, path, options.dtype)
        model, _ = mlx_lm.load(str(path))[:2]
        for rows in options.rows:
            if options.burst:
                print_bursts(rows, burst(model, rows, options))
                continue
            for name, medians in measure(model, rows, options).items():
                line = ", ".join(f"{key} {value:6.2f}" for key, value in medians.items())
                print(f"{rows:3} rows  {name:8} {line}", flush=True)


if __name__ == "__main__":
    main()
