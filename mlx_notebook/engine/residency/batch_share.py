"""Shares the rows of a model's batch between users, not between requests."""

from collections.abc import Iterable, Mapping

from mlx_notebook.engine.residency.user_turns import UserTurns


class BatchShare:
    """Chooses whose request joins the batch next: that of the user with the fewest rows.

    One row stays free for a user who has none, so that a new user does not wait until a long answer
    of someone else ends. This does not hold for the user without a name, who has the engine alone.
    """

    def __init__(self) -> None:
        self._turns = UserTurns()

    def next(
        self, waiting: Iterable[tuple[str, int]], rows: Mapping[str, int], most: int
    ) -> int | None:
        """Return the index of the waiting request that joins next; None if all must wait.

        Parameters
        ----------
        waiting
            The user of each request and how many rows it takes, the oldest first.
        rows
            How many rows each user has.
        most
            Rows of the whole batch.
        """
        first: dict[str, tuple[int, int]] = {}
        for index, (user, wanted) in enumerate(waiting):
            first.setdefault(user, (index, wanted))
        given = self._turns.counts(first)
        may_join = [
            user
            for user, (_, wanted) in first.items()
            if not user or not rows.get(user) or rows[user] + wanted < most
        ]
        if not may_join:
            return None
        chosen = min(may_join, key=lambda user: (rows.get(user, 0), given[user]))
        self._turns.charge(chosen, first[chosen][1])
        return first[chosen][0]
