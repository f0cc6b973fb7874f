"""Speculative decoding of a single row: cheap drafts, which the model checks in one step.

A drafted token is accepted if the row would have chosen it there without a draft. A row's random
stream depends on its seed and position only, so this works for sampled rows as for greedy ones, and
the text is the same with and without drafts. Rows whose choices depend on more (penalties,
grammars, reasoning budgets), or that report log probabilities, decode without drafts.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import choose_ahead
from mlx_notebook.engine.speculative.drafts import Drafter


class Speculation:
    """Drafts and checks tokens for the only row of a batch.

    Parameters
    ----------
    drafters
        The first one that has a draft is used.
    """

    def __init__(self, drafters: Sequence[Drafter]):
        self._drafters = drafters

    @property
    def nbytes(self) -> int:
        """Bytes that the drafters hold."""
        return sum(drafter.nbytes for drafter in self._drafters)

    def step(
        self, model: Any, cache: list[Any], row: Row, tokens: list[int], last: mx.array, room: int
    ) -> list[int] | None:
        """Feed the row's last token and a draft of the tokens after it.

        Parameters
        ----------
        cache
            The row's KV cache, which holds `tokens`. Afterwards it also holds all returned tokens
            but the last one.
        last
            The token after `tokens`, shape (1,).
        room
            How many more tokens may follow `last`.

        Returns
        -------
        `last`, the accepted tokens and the token after them. None if nothing was done: there is no
        draft, or the row does not allow one.
        """
        if row.adjusted or row.constraint is not None or row.logprobs is not None:
            return None
        for drafter in self._drafters:
            count = min(drafter.length.next(), room)
            drafted = drafter.draft(row, tokens, last, count) if count > 0 else None
            if drafted is not None:
                break
        else:
            return None
        inputs = mx.concatenate([last.astype(mx.uint32), drafted])
        chosen = choose_ahead(row, model(inputs[None], cache=cache)[0])
        mx.eval(inputs, chosen)
        fed, found = inputs.tolist(), chosen.tolist()
        accepted = 0
        while accepted < len(fed) - 1 and fed[accepted + 1] == found[accepted]:
            accepted += 1
        for layer in cache:
            layer.trim(len(fed) - 1 - accepted)
        row.position += accepted + 1
        drafter.checked(fed)
        drafter.length.update(len(fed) - 1, accepted)
        return [*fed[: accepted + 1], found[accepted]]
