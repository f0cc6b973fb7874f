"""The contenders of one run: started together, warmed up, and stopped."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.harness.contenders import OURS, Contender, RawLoop, Server
from benchmarks.harness.load import make_prompts
from benchmarks.harness.processes import cpu_seconds, memory


def say(text: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Lineup:
    """The contenders that run. All but one are idle at any time.

    `failures` has the reason of each one that did not start.
    """

    def __init__(self, contenders: list[Contender]) -> None:
        self.contenders = contenders
        self.failures: dict[str, str] = {}

    @property
    def ours(self) -> Server | None:
        """Our server, if it runs."""
        found = (c for c in self.contenders if c.name == OURS and isinstance(c, Server))
        return next(found, None)

    @property
    def servers(self) -> list[Server]:
        """All servers that run."""
        return [c for c in self.contenders if isinstance(c, Server)]

    @property
    def loops(self) -> list[RawLoop]:
        """mlx-lm's own loops."""
        return [c for c in self.contenders if isinstance(c, RawLoop)]

    def turn(self, number: int) -> list[Contender]:
        """Return the contenders in the order of a round: each round begins with another one."""
        turn = number % max(1, len(self.contenders))
        return self.contenders[turn:] + self.contenders[:turn]

    async def start(self) -> None:
        """Start all of them at the same time and leave out those that do not start."""
        outcomes = await asyncio.gather(*(self._begin(c) for c in self.contenders))
        self.contenders = [c for c, up in zip(self.contenders, outcomes, strict=True) if up]

    async def _begin(self, contender: Contender) -> bool:
        begun = time.monotonic()
        try:
            await contender.start()
        except (RuntimeError, OSError, TimeoutError) as problem:
            self.failures[contender.name] = str(problem)[:2000]
            say(f"{contender.name} did not start: {problem}")
            with contextlib.suppress(AttributeError):
                contender.stop()
            return False
        say(f"{contender.name} is up after {time.monotonic() - begun:.1f} s")
        return True

    async def warm_up(
        self, model: Path, levels: list[int], prompt_tokens: int, tokens: int
    ) -> None:
        """Run each number of streams once on each contender, so that all shapes are compiled.

        Different processes warm up at the same time.
        """

        async def warm(contenders: list[Contender]) -> None:
            for contender in contenders:
                for level in levels:
                    if contender.takes(level):
                        prompts = make_prompts(model, level, prompt_tokens, f"warm-up {level}")
                        await contender.run(prompts, tokens)

        loops: list[Contender] = list(self.loops)
        others = [[c] for c in self.contenders if c not in loops]
        await asyncio.gather(*(warm(group) for group in [loops, *others]))

    async def idle(self, seconds: float = 2.0) -> dict[str, dict[str, float]]:
        """Measure each idle contender: percent of one core, and bytes of memory."""
        await asyncio.sleep(0.5)
        before = {c.name: cpu_seconds(c.service.pid) for c in self.contenders}
        await asyncio.sleep(seconds)
        return {
            c.name: {
                "cpu_percent": 100 * (cpu_seconds(c.service.pid) - before[c.name]) / seconds,
                "memory": memory(c.service.pid),
            }
            for c in self.contenders
        }

    def stop(self) -> None:
        """Stop all of them."""
        for contender in self.contenders:
            if killed := contender.stop():
                say(f"{contender.name}: {len(killed)} processes had to be killed")


@contextlib.asynccontextmanager
async def started(contenders: list[Contender]) -> AsyncIterator[Lineup]:
    """Start the contenders, and stop them at the end of the block."""
    lineup = Lineup(contenders)
    try:
        await lineup.start()
        yield lineup
    finally:
        lineup.stop()
