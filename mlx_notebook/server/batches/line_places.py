"""Share the lines that may run at a time between users."""

import asyncio
from collections import Counter


class LinePlaces:
    """A number of places. A free one goes to the user who has the fewest.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._taken = Counter[str]()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    async def take(self, owner: str) -> None:
        """Wait for a place, and take it."""
        if self._free and not self._waiting:
            self._give(owner)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(owner)
            elif (owner, turn) in self._waiting:
                self._waiting.remove((owner, turn))
            raise

    def give_back(self, owner: str) -> None:
        """Give a place back."""
        self._free += 1
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
        # Who was cancelled in this moment has not left the line yet.
        self._waiting = [each for each in self._waiting if not each[1].cancelled()]
        if self._waiting:
            next_one = min(self._waiting, key=lambda each: self._taken[each[0]])
            self._waiting.remove(next_one)
            self._give(next_one[0])
            next_one[1].set_result(None)

    def _give(self, owner: str) -> None:
        self._free -= 1
        self._taken[owner] += 1
