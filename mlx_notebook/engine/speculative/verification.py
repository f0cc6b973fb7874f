"""Several tokens in one step of a lone row: guessed cheaply, checked by the model all at once.

A guess holds if it is the token that the row would have chosen there by itself. As a row's random
stream depends on its seed and position alone, that is known for sampled rows as well as for greedy
ones, and the text is the same with guesses as without. Rows whose choices depend on more than that
(penalties, grammars, reasoning budgets), or that report log probabilities, decode as ever.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlx_notebook.engine.sampling.sampler import Row, choose_ahead
from mlx_notebook.engine.speculative.drafts import Drafter


class Speculation:
    """Guesses and checks for whichever row is alone.

    Parameters
    ----------
    drafters
        The first one that has a guess is taken.
    """

    def __init__(self, drafters: Sequence[Drafter]):
        self._drafters = drafters

    @property
    def nbytes(self) -> int:
        """What the drafters keep, in bytes."""
        return sum(drafter.nbytes for drafter in self._drafters)

    def step(
        self, model: Any, cache: list[Any], row: Row, tokens: list[int], last: mx.array, room: int
    ) -> list[int] | None:
        """Feed the row's last token and guesses of what follows.

        Parameters
        ----------
        cache
            The row's, holding `tokens`; afterwards it also holds all that is returned but the last.
        last
            The token after those, shape (1,).
        room
            How many more tokens may follow `last`.

        Returns
        -------
        `last`, the guesses that held, and the token after them; None if nothing was done, since
        there is no guess or the row may not be guessed for.
        """
        if row.adjusted or row.constraint is not None or row.logprobs is not None:
            return None
        for drafter in self._drafters:
            count = min(drafter.pace.next(), room)
            guesses = drafter.draft(row, tokens, last, count) if count > 0 else None
            if guesses is not None:
                break
        else:
            return None
        inputs = mx.concatenate([last.astype(mx.uint32), guesses])
        chosen = choose_ahead(row, model(inputs[None], cache=cache)[0])
        mx.eval(inputs, chosen)
        fed, found = inputs.tolist(), chosen.tolist()
        held = 0
        while held < len(fed) - 1 and fed[held + 1] == found[held]:
            held += 1
        for layer in cache:
            layer.trim(len(fed) - 1 - held)
        row.position += held + 1
        drafter.note(fed)
        drafter.pace.note(len(fed) - 1, held)
        return [*fed[: held + 1], found[held]]
