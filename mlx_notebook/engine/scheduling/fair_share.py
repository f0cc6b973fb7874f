"""Shares time fairly between models that run side by side: equal seconds, not equal steps.

A step of a model that computes long prompts may take a second, a step of another model a few
milliseconds. If they took turns step by step, the other one would all but stop.
"""

from collections.abc import Collection

# Long enough for a few steps of a small model, so that its pipeline does not run empty.
_QUANTUM_SECONDS = 0.02


class FairShare:
    """Chooses which model makes the next step.

    Attributes
    ----------
    current
        The name that was chosen last.
    """

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._used = 0.0
        self.current: str | None = None

    def next(self, active: Collection[str]) -> str:
        """Return the name to go on with: the current one until its 20 ms are used.

        Then it is the name that has used the least time. A name that was not active before begins
        with as much used time as the one that has used the least.
        """
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
        """Add the duration of a step to the time that an active name has used."""
        if name in self._spent:
            self._spent[name] += seconds
        if name == self.current:
            self._used += seconds
