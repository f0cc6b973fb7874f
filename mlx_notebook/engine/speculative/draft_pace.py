"""How many tokens to draft: learned from what steps cost and from what drafts bring."""

from collections import deque
from collections.abc import Callable

WIDTHS = (2, 4, 8, 16)
"""Numbers of tokens that a verified step feeds per row. Each one has its own kernels and graphs."""

_SAMPLES = 9
_ENOUGH_PLAIN = 3
# The first step of a width may compile. So it takes two to know one.
_ENOUGH_VERIFIED = 2
_OLD = 1_000
"""Steps after which a width that did not pay may be tried again."""

_BETWEEN_TRIES = 16
"""Steps between two tries of widths whose cost is not known."""

_MARGIN = 1.04
_ALLOWANCE = 0.01
"""What drafts may lose, as a share of the plain steps."""

_MOST_CREDIT, _MOST_DEBT = 3.0, -30.0
_FIRST_SLOPE = 0.25
"""What each drafted token is thought to add to a step's time before any was measured."""


class _Cost:
    """The time of verified steps of one shape, as a multiple of a plain step's time."""

    def __init__(self) -> None:
        self.samples: deque[float] = deque(maxlen=_SAMPLES)
        self.step = 0

    @property
    def ratio(self) -> float:
        """A low quantile: what disturbs a step makes it longer."""
        return _low(self.samples)


class DraftPace:
    """Decides for a batch how many tokens to draft now, so that tokens per second are highest.

    It keeps an account in plain steps. Plain steps fill it slowly. A verified step takes from it
    what it costs and adds the tokens that it brings. Drafts are made while the account is positive.
    So they can never lose more than a small share of the time.
    """

    def __init__(self) -> None:
        self._plain: dict[int, deque[float]] = {}
        self._costs: dict[tuple[int, int], _Cost] = {}
        self._slope = _FIRST_SLOPE
        self._credit = _MOST_CREDIT
        self._step = 0
        self._next_try = 0
        # The tokens per row that the last choice promised.
        self._promised = 1.0

    def plain(self, rows: int, seconds: float) -> None:
        """Take the time of a step without drafts."""
        self._step += 1
        self._credit = min(_MOST_CREDIT, self._credit + _ALLOWANCE)
        samples = self._plain.get(rows)
        if samples is None:
            samples = self._plain[rows] = deque(maxlen=_SAMPLES)
        samples.append(seconds)

    def verified(self, rows: int, width: int, seconds: float, tokens: int | None = None) -> None:
        """Take the time of a step with drafts.

        Parameters
        ----------
        width
            Tokens that it fed per row. Between two of `WIDTHS`, the longer one is thought to take
            so much more.
        tokens
            The tokens that all rows got by it. None: as many as were expected.
        """
        self._step += 1
        plain = self._plain.get(rows)
        if not plain or width < 2:
            return
        measured = seconds / max(_low(plain), 1e-9)
        fed, width = width, next((size for size in WIDTHS if size >= width), WIDTHS[-1])
        ratio = 1 + (measured - 1) * (width - 1) / (fed - 1)
        cost = self._costs.setdefault((rows, width), _Cost())
        cost.samples.append(ratio)
        cost.step = self._step
        known = len(cost.samples) >= _ENOUGH_VERIFIED
        if known:
            self._slope = max(0.0, cost.ratio - 1) / (width - 1)
        # A step that compiled or was disturbed is not the drafts' fault.
        ratio = min(measured, 2 * (cost.ratio if known else self._guess(rows, width)))
        gained = tokens / rows if tokens is not None else self._promised
        self._credit = max(_MOST_DEBT, min(_MOST_CREDIT, self._credit + gained - ratio))

    def width(self, expected: Callable[[int], list[float]], rows: int) -> int:
        """Return how many tokens to draft for each row now; 0 for a plain step.

        Parameters
        ----------
        expected
            Takes a number of drafted tokens. Returns for each row how many of them will be
            accepted on average.
        """
        if self._credit <= 0 or len(self._plain.get(rows, ())) < _ENOUGH_PLAIN:
            return 0
        best, gain, promised = 0, _MARGIN, 1.0
        for width in WIDTHS:
            tokens = 1 + sum(expected(width - 1)) / rows
            if tokens <= _MARGIN:
                return 0
            cost = self._costs.get((rows, width))
            known = cost is not None and len(cost.samples) >= _ENOUGH_VERIFIED
            if cost is not None and known and self._step - cost.step < _OLD:
                ratio = cost.ratio
            elif self._step < self._next_try:
                continue
            else:
                ratio = self._guess(rows, width)
                known = False
            if tokens / ratio > gain:
                best, gain, promised = width, tokens / ratio, tokens
                if not known:
                    self._next_try = self._step + _BETWEEN_TRIES
                    break
        self._promised = promised
        return best - 1 if best else 0

    def _guess(self, rows: int, width: int) -> float:
        """Return what a step of a width that is not known may cost."""
        cost = self._costs.get((rows, width))
        if cost is not None and len(cost.samples) >= _ENOUGH_VERIFIED:
            # It was measured long ago, or in bad moments only.
            return min(max(1.0, 0.8 * cost.ratio), 1 + _FIRST_SLOPE * (width - 1))
        # A step with drafts has a cost of its own, however wide: narrower ones tell both.
        narrower = [
            (size, found.ratio)
            for size in WIDTHS
            if size < width
            and (found := self._costs.get((rows, size))) is not None
            and len(found.samples) >= _ENOUGH_VERIFIED
        ]
        if not narrower:
            return 1 + self._slope * (width - 1)
        size, ratio = narrower[-1]
        slope = _FIRST_SLOPE
        if len(narrower) > 1:
            before, less = narrower[-2]
            slope = max(0.0, ratio - less) / (size - before)
        return ratio + slope * (width - size)


def _low(samples: deque[float]) -> float:
    """Return the lower third of recent times: one of two, the second of four, the third of nine."""
    return sorted(samples)[(len(samples) - 1) // 3]
