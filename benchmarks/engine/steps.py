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
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def raw(model: Any, asked: list[list[int]]) -> Callable[[], object]:
    """Return a function that makes a step of mlx-lm's batch, whose rows have begun."""
    rows = len(asked)
    batch = BatchGenerator(model, completion_batch_size=rows, prefill_batch_size=rows)
    batch.insert(asked, [ENDLESS] * rows)
    while len(batch.next()[1]) < rows:
        pass
    return batch.next


def ours(model: Any, asked: list[list[int]]) -> Callable[[], object]:
    """Return a function that makes a step of the engine's batch, whose rows have begun."""
    rows = len(asked)
    limits = PrefillLimits(rounding=mx.cuda.is_available(), rows=rows)
    batch = RowGenerator(
        model, PrefillPolicy(limits, PrefillSpeed(8000.0)), rows, lambda: make_prompt_cache(model)
    )
    for prompt in asked:
        cache = make_prompt_cache(model)
        batch.insert([prompt], Row(), cache=cache, tokens=[], max_tokens=ENDLESS, ends=())
    while len(batch.next()[1]) < rows:
        pass
    return batch.next


def measure(model: Any, rows: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure a number of rows on both, in turn; return each one's times, in milliseconds."""
    times: dict[str, list[dict[str, float]]] = {"mlx-lm": [], "engine": []}
    for turn in range(options.rounds):
        for name, begin in (("mlx-lm", raw), ("engine", ours)):
            step = begin(model, prompts(rows, options.prompt_tokens, turn))
            with Watch() as watch:
                found = [watch.step(step) for _ in range(options.steps)]
            # The first steps compile.
            times[name].extend(found[options.steps // 3 :])
            mx.synchronize()
            mx.clear_cache()
    return {
        name: {key: 1000 * statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in times.items()
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.steps", description=__doc__)
    parser.add_argument("--model", default="tiny", help="a model's folder or the name of a shape")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="float32")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx-notebook-steps-") as folder:
        path = Path(options.model)
        if not path.is_dir():
            path = Path(folder) / "model"
            prepare_model(options.model, path, options.dtype)
        model, _ = mlx_lm.load(str(path))[:2]
        for rows in options.rows:
            for name, medians in measure(model, rows, options).items():
                line = ", ".join(f"{key} {value:6.2f}" for key, value in medians.items())
                print(f"{rows:3} rows  {name:8} {line}", flush=True)


if __name__ == "__main__":
    main()
