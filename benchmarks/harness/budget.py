"""A limit of time for a run: what does not fit is left out, and said so."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from benchmarks.harness.lineup import say


class Budget:
    """The seconds that a run may take. `notes` says what was left out or cut short."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.notes: list[str] = []

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.deadline - time.monotonic()

    def fits(self, seconds: float) -> bool:
        """Whether that many seconds still fit."""
        return seconds < self.left

    def note(self, text: str) -> None:
        """Keep a remark for the report and print it."""
        self.notes.append(text)
        say(text)

    async def run(
        self, name: str, work: Coroutine[Any, Any, None], least: float, limit: float
    ) -> None:
        """Run one section for at most `limit` seconds.

        It is skipped if fewer than `least` seconds are left. A section that fails or takes too long
        ends with a note; what it recorded until then stays.
        """
        if not self.fits(least):
            work.close()
            self.note(f"{name}: skipped, {max(0.0, self.left):.0f} s were left of the total")
            return
        began = time.monotonic()
        allowed = min(limit, self.left)
        try:
            async with asyncio.timeout(allowed):
                await work
        except TimeoutError:
            self.note(f"{name}: cut short after {allowed:.0f} s")
        except (RuntimeError, OSError, ValueError) as problem:
            self.note(f"{name}: failed: {type(problem).__name__}: {problem}"[:2000])
        else:
            say(f"{name}: {time.monotonic() - began:.0f} s")
