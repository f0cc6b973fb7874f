"""Bursts of streams that arrive together, measured on each contender in turn."""

from pathlib import Path
from typing import Any

from benchmarks.harness.contenders import Contender
from benchmarks.harness.lineup import Lineup, say
from benchmarks.harness.load import Burst, make_prompts
from benchmarks.harness.processes import cpu_seconds


class Bursts:
    """Measures bursts of one table, and adds their figures and failures to `results`."""

    def __init__(
        self,
        table: str,
        lineup: Lineup,
        model: Path,
        sizes: tuple[int, int],
        results: dict[str, Any],
    ) -> None:
        self.table = table
        self.lineup = lineup
        self.model = model
        self.prompt_tokens, self.tokens = sizes
        self.results = results

    async def round(self, number: int, levels: list[int]) -> None:
        """Measure each number of streams on all contenders."""
        for level in levels:
            for contender in self.lineup.turn(number):
                if not contender.takes(level):
                    continue
                # One stream is short and noisy: measure it several times per round.
                for repeat in range(3 if level == 1 else 1):
                    if not await self._measure(contender, level, number, repeat):
                        break

    async def _measure(self, contender: Contender, level: int, number: int, repeat: int) -> bool:
        """Measure one burst. Return whether the contender answered."""
        salt = f"{self.table} {number} {repeat} {level}"
        prompts = make_prompts(self.model, level, self.prompt_tokens, salt)
        before = cpu_seconds(contender.service.pid)
        try:
            samples = await contender.run(prompts, self.tokens)
        except (OSError, RuntimeError, TimeoutError) as problem:
            key = f"{self.table}: {contender.name}, {level} streams"
            self.results["failures"][key] = f"{type(problem).__name__}: {problem}"[:2000]
            say(f"{key}: {type(problem).__name__} {problem}")
            return False
        used = cpu_seconds(contender.service.pid) - before
        burst = Burst(self.table, contender.name, level, number, samples, used)
        figures = burst.figures
        self.results["bursts"].append(figures)
        if figures.get("total"):
            say(
                f"{contender.name:24} {level:3} streams {figures['total']:7.1f} tok/s, "
                f"first token {1000 * (figures['first'] or 0):6.0f} ms"
            )
        if burst.errors:
            say(f"{contender.name}: {len(burst.errors)} failed, such as: {burst.errors[0]}")
        return True
