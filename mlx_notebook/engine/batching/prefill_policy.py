"""Decides which prompts to compute next, together, and how many tokens of them.

Wide batches and long chunks use a device best. But running rows wait for a chunk, and so do prompts
that arrive meanwhile. So the size of a chunk follows from the time that it may take and from the
speed that was measured. Everything here is plain arithmetic, which a simulator can drive.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MOST_TOKENS = 16_384
"""Most tokens of one chunk of a group: they bound the memory of what is computed."""

ROWS, LENGTHS = (1, 4, 8, 16, 32), (32, 64, 128, 256, 512)
"""Sizes to which groups and chunks are padded; longer chunks to a multiple of the last length."""

_FEW = 32
"""Chunks with fewer tokens say nothing about the speed."""

_GROUP_SECONDS = 0.25
"""While no row runs, prompts are computed together if that takes no longer than this."""

_SMALL_GROUP, _SHORT_PROMPT = 8, 512
"""Prompts that are together even if it takes longer: so many, of at most so many tokens.

Devices that are slow enough for that compute a chunk of many rows faster than many chunks.
"""

_SMALL_CHUNK = 16
"""Fewest tokens of a prompt in a chunk."""

_SAFETY = 0.75
"""Share of the pause that a chunk may fill, since the speed varies."""

_STEPS = 3
"""A chunk may take as long as so many decode steps, if that is longer than the pause.

Where a step takes long, shorter chunks would add many steps to what a burst takes.
"""

_BEGUN_TOKENS = 16
"""Rows that have generated at most so many tokens have just begun."""

_WAIT_SHARE, _WAIT_SECONDS = 0.01, 0.005
"""A short prompt that comes alone waits for others: this share of its own time, at most so long."""

_MOST_GROUPS = 4
"""Most groups that are begun for the sake of a shorter prompt behind them."""

_STARVED_SECONDS = 2.0


@dataclass(frozen=True)
class PrefillLimits:
    """What bounds a chunk.

    Attributes
    ----------
    chunk
        Most tokens of one prompt.
    pause
        Seconds for which running rows may wait, if a chunk can be that short.
    idle_pause
        The same if no row runs: a new prompt, or a cancellation, waits as long.
    rows
        Most prompts in a group.
    rounding
        Whether groups and chunks are padded to a few sizes, because every new shape costs time.
    """

    chunk: int = 4096
    pause: float = 0.5
    idle_pause: float = 1.0
    rows: int = 32
    rounding: bool = False


class PrefillSpeed:
    """The measured speed of prefill, in tokens per second.

    Parameters
    ----------
    guess
        The speed until something is measured.
    """

    def __init__(self, guess: float):
        self._guess = guess
        self._recent: deque[float] = deque(maxlen=5)

    def add(self, tokens: int, seconds: float) -> None:
        """Record a chunk."""
        if tokens >= _FEW and seconds > 0:
            self._recent.append(tokens / seconds)

    def tokens_in(self, seconds: float) -> int:
        """Return how many tokens can be computed in so many seconds."""
        return int(self._speed * seconds)

    def seconds_for(self, tokens: int) -> float:
        """Return how many seconds it takes to compute so many tokens."""
        return tokens / self._speed

    @property
    def _speed(self) -> float:
        return median(self._recent) if self._recent else self._guess


class PrefillPolicy:
    """The policy of one model's batch.

    Parameters
    ----------
    limits
        What bounds a chunk.
    speed
        What is measured.
    """

    def __init__(self, limits: PrefillLimits, speed: PrefillSpeed):
        self.limits, self.speed = limits, speed

    def begin(self, waiting: Sequence[int], *, decoding: bool) -> list[int]:
        """Return the indices of the waiting prompts to begin together.

        Parameters
        ----------
        waiting
            How many tokens each has to compute, the oldest first.
        decoding
            Whether rows run meanwhile.
        """
        if not waiting:
            return []
        longest = first = waiting[0]
        budget = self._budget(_SAFETY * self.limits.pause if decoding else _GROUP_SECONDS)
        chosen = [0]
        most = min(self.limits.rows, ROWS[-1]) if self.limits.rounding else self.limits.rows
        for index, length in enumerate(waiting[1:], 1):
            longer = max(longest, length)
            fits = (len(chosen) + 1) * longer <= budget
            fits = fits or (len(chosen) < _SMALL_GROUP and longer <= _SHORT_PROMPT)
            if len(chosen) < most and fits and first <= 2 * length <= 4 * first:
                chosen.append(index)
                longest = longer
        return chosen

    def chunk(
        self,
        rows: int,
        *,
        decoding: bool,
        step_seconds: float = 0.0,
        most_seconds: float = math.inf,
    ) -> int:
        """Return how many tokens of each prompt of a group of `rows` to compute now.

        Parameters
        ----------
        step_seconds
            How long the last decode step took.
        most_seconds
            A shorter time than the limits allow.
        """
        seconds = idle = self.limits.idle_pause
        if decoding:
            seconds = max(_SAFETY * self.limits.pause, min(idle, _STEPS * step_seconds))
        budget = self._budget(min(seconds, most_seconds)) // rows
        most = min(self.limits.chunk, MOST_TOKENS // rows)
        if self.limits.rounding and budget >= _FEW:
            budget = 1 << (budget.bit_length() - 1)
        return min(most, max(_SMALL_CHUNK, budget))

    def gathers(self, generated: Sequence[int], pending: Sequence[int]) -> bool:
        """Return whether the running rows and the prompts still to compute are one burst.

        That is so if all rows have just begun and the prompts are short. Then decoding and prefill
        take turns: steps until every row has its first token, then a whole group of prompts, so
        that the rows decode together. A row that was there before the burst never waits so.

        Parameters
        ----------
        generated
            How many tokens each running row has generated.
        pending
            How many tokens each prompt has left, of those that have begun and those that may.
        """
        if not generated or not pending:
            return False
        return max(generated) <= _BEGUN_TOKENS and max(pending) <= _SHORT_PROMPT

    def wait_seconds(self, tokens: int) -> float:
        """Return how many seconds a prompt that came alone waits for others of a burst.

        The first request of a burst is often ready before the next one arrives. Its prompt alone
        would take about as long as the prompts of all together. A long prompt does not wait.
        """
        if tokens > _SHORT_PROMPT:
            return 0.0
        return min(_WAIT_SECONDS, _WAIT_SHARE * self.speed.seconds_for(tokens))

    def turn(self, groups: Sequence[tuple[int, float]], waiting: Sequence[int]) -> int | None:
        """Return the index of the group to continue; None: begin one of the waiting prompts.

        The group with the least left comes first, but none waits longer than two seconds.

        Parameters
        ----------
        groups
            For each its tokens left, of its longest prompt, and the seconds since its last chunk.
        waiting
            As for `begin`.
        """
        if not groups:
            return None
        starved = max(range(len(groups)), key=lambda index: groups[index][1])
        if groups[starved][1] > _STARVED_SECONDS:
            return starved
        least = min(range(len(groups)), key=lambda index: groups[index][0])
        left = groups[least][0]
        # A short prompt may wait behind a long one: then the long one begins too, to let it pass.
        passes = min(waiting, default=left) < left and len(groups) < _MOST_GROUPS
        if passes or (waiting and waiting[0] < left):
            return None
        return least

    def padded(self, rows: int, length: int) -> tuple[int, int]:
        """Return the rows and the tokens to which a chunk is padded."""
        if not self.limits.rounding:
            return rows, length
        rows = next((size for size in ROWS if size >= rows), rows)
        step = next((size for size in LENGTHS if size >= length), LENGTHS[-1])
        return rows, -(-length // step) * step

    def _budget(self, seconds: float) -> int:
        """Return how many tokens one chunk of so many seconds may have in all."""
        return max(_FEW, min(MOST_TOKENS, self.speed.tokens_in(seconds)))
