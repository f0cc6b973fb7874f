"""`python -m benchmarks.engine.simulate`: compare policies for prefill without a model or a GPU.

A virtual clock and a device whose steps cost what is given replay arrivals. The engine's own policy
(`engine/batching/prefill_policy.py`) decides, and beside it mlx-lm's rule and first come, first
served. As in the engine, one step of the loop decodes all running rows once and then computes one
chunk of prompts. A winner here is a guess: measure it with `benchmarks.accelerator`.
"""

import argparse
import heapq
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.harness.load import percentile, poisson
from mlx_notebook.engine.batching.prefill_policy import PrefillLimits, PrefillPolicy, PrefillSpeed


@dataclass(frozen=True)
class Costs:
    """What the device takes, in seconds.

    `launch` is for each chunk, `step` for each decode step, `shape` for the first one of its shape,
    `token` for each prompt token, padding included, `row` for each row of a decode step.
    """

    launch: float
    step: float
    shape: float
    token: float
    row: float


DEVICES = {
    # A model of 0.6 billion parameters on a data centre's GPU: launches and new shapes cost most.
    "gpu": Costs(launch=0.006, step=0.006, shape=0.15, token=4e-5, row=1e-4),
    # One of 0.1 billion parameters on two cores.
    "cpu": Costs(launch=0.004, step=0.09, shape=0.0, token=3e-3, row=0.0085),
}


@dataclass
class Prompt:
    """One request: when it arrives, the prompt tokens to compute, the tokens to generate.

    `times` is when its tokens came.
    """

    arrival: float
    left: int
    answer: int
    times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Chunk:
    """`counts[i]` tokens of `prompts[i]`, computed together, padded to `rows` and `width`."""

    prompts: list[Prompt]
    counts: list[int]
    rows: int
    width: int


class Chooser(Protocol):
    """Chooses the next chunk. `waiting` are the prompts that have not begun, the oldest first."""

    def gathers(self, waiting: deque[Prompt], running: Sequence[Prompt]) -> bool:
        """Return whether the running rows and the prompts still to compute are one burst."""

    def choose(self, waiting: deque[Prompt], step: float, now: float) -> Chunk | None:
        """Return the next chunk, and take those that begin out of `waiting`.

        `step` is how long the last decode step took; 0 if no row runs.
        """

    def finished(self, chunk: Chunk, seconds: float, now: float) -> None:
        """Take note of a chunk that was computed; its prompts' `left` is up to date."""


class Shipped:
    """The engine's policy, with its groups kept as `RowGenerator` keeps them."""

    def __init__(self, limits: PrefillLimits, guess: float) -> None:
        self.policy = PrefillPolicy(limits, PrefillSpeed(guess))
        self.groups: list[tuple[list[Prompt], float]] = []

    def gathers(self, waiting: deque[Prompt], running: Sequence[Prompt]) -> bool:
        """Ask the policy."""
        pending = [max(p.left for p in group) for group, _ in self.groups]
        pending += [prompt.left for prompt in waiting]
        return self.policy.gathers([len(prompt.times) for prompt in running], pending)

    def choose(self, waiting: deque[Prompt], step: float, now: float) -> Chunk | None:
        """Continue a group, or begin one."""
        if not waiting and not self.groups:
            return None
        lengths = [prompt.left for prompt in waiting]
        ages = [(max(p.left for p in group), now - at) for group, at in self.groups]
        turn = self.policy.turn(ages, lengths)
        if turn is None:
            indices = set(self.policy.begin(lengths, decoding=step > 0))
            group = [prompt for i, prompt in enumerate(waiting) if i in indices]
            rest = [prompt for i, prompt in enumerate(waiting) if i not in indices]
            waiting.clear()
            waiting.extend(rest)
        else:
            group, _ = self.groups.pop(turn)
        most = self.policy.chunk(len(group), decoding=step > 0, step_seconds=step)
        counts = [min(prompt.left, most) for prompt in group]
        return Chunk(group, counts, *self.policy.padded(len(group), max(counts)))

    def finished(self, chunk: Chunk, seconds: float, now: float) -> None:
        """Record the speed, and keep what is left of the group."""
        self.policy.speed.add(chunk.rows * chunk.width, seconds)
        if rest := [prompt for prompt in chunk.prompts if prompt.left]:
            self.groups.append((rest, now))


class Fixed:
    """Up to `rows` prompts at a time, `tokens` of each; others join when one has finished.

    With 8 and 2,048 it is the rule of mlx-lm's `BatchGenerator`, with 1 first come, first served.
    """

    def __init__(self, rows: int, tokens: int) -> None:
        self.rows, self.tokens = rows, tokens
        self.group: list[Prompt] = []

    def gathers(self, waiting: deque[Prompt], running: Sequence[Prompt]) -> bool:
        """Return False: each step is followed by a chunk."""
        return False

    def choose(self, waiting: deque[Prompt], step: float, now: float) -> Chunk | None:
        """Fill the group up and compute the next tokens of all its prompts."""
        while waiting and len(self.group) < self.rows:
            self.group.append(waiting.popleft())
        if not self.group:
            return None
        counts = [min(prompt.left, self.tokens) for prompt in self.group]
        return Chunk(list(self.group), counts, len(counts), max(counts))

    def finished(self, chunk: Chunk, seconds: float, now: float) -> None:
        """Take finished prompts out of the group."""
        self.group = [prompt for prompt in self.group if prompt.left]


@dataclass(frozen=True)
class Outcome:
    """Seconds: until all had finished, to the first token, and the longest pause of a row."""

    total: float
    first: float
    first_p95: float
    pause: float


def simulate(costs: Costs, chooser: Chooser, trace: Sequence[Prompt]) -> Outcome:
    """Replay a trace. Its prompts are copied."""
    prompts = [Prompt(p.arrival, p.left, p.answer) for p in trace]
    coming = [(p.arrival, i) for i, p in enumerate(prompts)]
    heapq.heapify(coming)
    waiting: deque[Prompt] = deque()
    running: list[Prompt] = []
    shapes: set[tuple[str, int, int]] = set()
    now = 0.0

    def took(kind: str, rows: int, width: int) -> float:
        new = (kind, rows, width) not in shapes
        shapes.add((kind, rows, width))
        if kind == "decode":
            work = costs.step + costs.row * rows
        else:
            work = costs.launch + costs.token * rows * width
        return work + (costs.shape if new else 0.0)

    while True:
        while coming and coming[0][0] <= now:
            waiting.append(prompts[heapq.heappop(coming)[1]])
        burst = bool(running) and chooser.gathers(waiting, running)
        first = burst and not all(prompt.times for prompt in running)
        decodes = bool(running) and (first or not burst)
        step = took("decode", len(running), 1) if decodes else 0.0
        if decodes:
            now += step
            for prompt in running:
                prompt.times.append(now)
            running = [prompt for prompt in running if len(prompt.times) < prompt.answer]
        if first:
            continue
        chunk = chooser.choose(waiting, step if running else 0.0, now)
        if chunk is not None:
            seconds = took("prefill", chunk.rows, chunk.width)
            now += seconds
            for prompt, count in zip(chunk.prompts, chunk.counts, strict=True):
                prompt.left -= count
            running += [prompt for prompt in chunk.prompts if not prompt.left]
            chooser.finished(chunk, seconds, now)
        elif not running:
            if not coming:
                break
            now = max(now, coming[0][0])
    return outcome(prompts)


def outcome(prompts: Sequence[Prompt]) -> Outcome:
    """Return the figures of prompts that have their tokens."""
    first = [prompt.times[0] - prompt.arrival for prompt in prompts]
    pauses = [
        b - a for prompt in prompts for a, b in zip(prompt.times, prompt.times[1:], strict=False)
    ]
    return Outcome(
        total=max(prompt.times[-1] for prompt in prompts) - min(p.arrival for p in prompts),
        first=statistics.median(first),
        first_p95=percentile(first, 0.95),
        pause=max(pauses, default=0.0),
    )


def traces() -> dict[str, list[Prompt]]:
    """Return the arrivals by name. An agent's turn adds 300 tokens to a cached conversation."""
    rates = poisson(32, 4.0, "simulation")
    agents = [
        Prompt(0.3 * agent + 8.0 * turn, 300 if turn else 6000, 80)
        for agent in range(4)
        for turn in range(5)
    ]
    return {
        "burst of 8": [Prompt(0.0, 200 + 5 * i, 200) for i in range(8)],
        "burst of 32": [Prompt(0.0, 200 + 5 * (i % 8), 200) for i in range(32)],
        "32 at random, 4 a second": [
            Prompt(t, 200 + 50 * (i % 9), 128) for i, t in enumerate(rates)
        ],
        "16,000 tokens join 8 streams": [
            *(Prompt(0.0, 200, 400) for _ in range(8)),
            Prompt(3.0, 16_000, 50),
        ],
        "4 agents, 5 turns": agents,
    }


def choosers(costs: Costs) -> dict[str, Chooser]:
    """Return new choosers by name. New shapes are rounded where they cost something."""
    # The engine guesses the speed of a device before it has measured it: here, half of the truth.
    guess = 0.5 / costs.token
    limits = PrefillLimits(rounding=costs.shape > 0)
    return {
        "shipped": Shipped(limits, guess),
        "mlx-lm (8 at a time, 2,048 tokens)": Fixed(8, 2048),
        "first come, first served": Fixed(1, 2048),
    }


def compare(device: str, names: Sequence[str]) -> list[str]:
    """Return the table of a device as lines of Markdown."""
    costs = DEVICES[device]
    lines = [
        f"### {device}: {costs}",
        "",
        "| arrivals | policy | total, s | first token, s | 95th percentile, s | longest pause, s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in names:
        for policy, chooser in choosers(costs).items():
            found = simulate(costs, chooser, traces()[name])
            figures = (found.total, found.first, found.first_p95, found.pause)
            cells = " | ".join(f"{value:.2f}" for value in figures)
            lines.append(f"| {name} | {policy} | {cells} |")
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.simulate", description=__doc__
    )
    parser.add_argument("--device", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    parser.add_argument("--traces", nargs="+", choices=list(traces()), default=list(traces()))
    options = parser.parse_args()
    for device in options.device:
        print("\n".join(compare(device, options.traces)) + "\n")


if __name__ == "__main__":
    main()
