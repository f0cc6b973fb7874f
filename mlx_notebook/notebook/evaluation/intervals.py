"""Confidence intervals of means, reproducible by a seed."""

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

_CONFIDENCE = 0.95
_MOST_DRAWS, _RESAMPLES, _LEAST_RESAMPLES = 2_000_000, 1000, 200


class Interval(NamedTuple):
    """A mean, and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval_of(values: Sequence[float], seed: int) -> Interval | None:
    """Return the mean of values and its interval; None if there are none.

    For values that are all 0 or 1 it is Wilson's score interval (1927), for others the percentile
    bootstrap (Efron, 1979).
    """
    if not values:
        return None
    if all(value in (0, 1) for value in values):
        return _wilson(sum(values), len(values))
    return _bootstrap(values, seed)


def difference(first: Sequence[float], second: Sequence[float], seed: int) -> Interval | None:
    """Return how much more the second values are in the mean, as the same rows have both."""
    if not first:
        return None
    return _bootstrap([b - a for a, b in zip(first, second, strict=True)], seed)


def _wilson(successes: float, count: int) -> Interval:
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    spread /= 1 + z * z / count
    return Interval(share, max(0.0, middle - spread), min(1.0, middle + spread))


def _bootstrap(values: Sequence[float], seed: int) -> Interval:
    count = len(values)
    resamples = max(_LEAST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWS // count))
    draws = random.Random(seed)  # noqa: S311 - reproducible, not secret
    means = sorted(fmean(draws.choices(values, k=count)) for _ in range(resamples))
    tail = (1 - _CONFIDENCE) / 2
    low, high = means[int(tail * resamples)], means[min(resamples - 1, int((1 - tail) * resamples))]
    return Interval(fmean(values), low, high)
