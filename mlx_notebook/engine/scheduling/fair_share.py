"""Whose turn it is: models that run side by side get equal time, not an equal number of steps.

One that reads long prompts takes a second for a step that costs another a few milliseconds; with a
step each in turn, the second would all but stand still.
"""

from collections.abc import Collection

# Long enough for a few steps of a small model, so that its pipeline is not emptied at each step.
_QUANTUM_SECONDS = 0.02


class Turns:
    """Shares time out. Names that were away begin level with the one that had least."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self.current: str | None = None
        """Whose turn it is or was last."""
        self._used = 0.0

    def next(self, active: Collection[str]) -> str:
        """The one to go on: the same for a few milliseconds, then the one that had least."""
        if self._spent.keys() != set(active):
            level = min((self._spent[name] for name in active if name in self._spent), default=0.0)
            self._spent = {name: max(level, self._spent.get(name, level)) for name in active}
        current = self.current
        if current not in self._spent or self._used >= _QUANTUM_SECONDS:
            current, self._used = min(self._spent, key=self._spent.__getitem__), 0.0
        assert current is not None
        self.current = current
        return current

    def charge(self, name: str | None, seconds: float) -> None:
        """Note what a step took; of one that is away there is nothing to note."""
        if name in self._spent:
            self._spent[name] += seconds
        if name == self.current:
            self._used += seconds
